// Package openapi has the generated OpenAPI document of the REST form.
package openapi

import _ "embed"

// Document is the OpenAPI 2.0 document that `make gen` writes.
//
//go:embed continuo.swagger.json
var Document []byte
