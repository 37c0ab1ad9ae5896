package gateway

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/continuo-dev/continuo/gen/openapi"
)

// openAPI is the generated document, made to say what the REST form does: 64-bit integers are numbers, a payload is any
// value, errors have their own shape.
var openAPI = sync.OnceValue(func() []byte {
	var document map[string]any
	if err := json.Unmarshal(openapi.Document, &document); err != nil {
		panic("gateway: the embedded OpenAPI document is not JSON: " + err.Error())
	}
	document = fixIntegers(document)
	if info, ok := document["info"].(map[string]any); ok {
		info["title"], info["version"] = "Continuo", "v1"
	}
	definitions, ok := document["definitions"].(map[string]any)
	if !ok {
		panic("gateway: the embedded OpenAPI document has no definitions")
	}
	definitions["Payload"] = map[string]any{
		"description": "A user's value: any JSON value as it is, or {\"@encoding\": name, \"@data\": base64} for other encodings.",
	}
	definitions["rpc.Status"] = map[string]any{
		"type": "object",
		"properties": map[string]any{
			"code":           map[string]any{"type": "string", "description": "Stable; see docs/reference/errors.md."},
			"message":        map[string]any{"type": "string"},
			"retry_after_ms": map[string]any{"type": "integer", "format": "int64"},
			"run_id":         map[string]any{"type": "string"},
		},
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		panic("gateway: the OpenAPI document cannot be written: " + err.Error())
	}
	return text
})

// fixIntegers turns strings of format int64 and uint64 into integers, all the way down.
func fixIntegers(node map[string]any) map[string]any {
	if format, ok := node["format"].(string); ok && node["type"] == "string" && (format == "int64" || format == "uint64") {
		node["type"] = "integer"
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			fixIntegers(v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	for _, v := range node {
		walk(v)
	}
	return node
}

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI())
}
