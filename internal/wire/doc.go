// Package wire translates between the public wire (gen/continuo/api/v1) and the language of the suite (pkg/events), for
// both of its ends: the gateway and the Go SDK. It also has the one table of error codes.
//
// Functions named To… make wire messages, those named From… read them. From… functions check what they read and fail
// with an [events.Error], so that a gateway can hand the error on as it is.
package wire
