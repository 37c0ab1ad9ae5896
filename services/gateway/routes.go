package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// route is a REST address with the method of the service behind it.
type route struct {
	name    string // such as "StartWorkflow"
	request protoreflect.MessageDescriptor
	hasBody bool
}

// routes are all REST addresses by HTTP method and pattern, read from the options of the service's methods.
var routes = func() map[string]route {
	all := make(map[string]route)
	methods := apiv1.File_continuo_api_v1_workflow_proto.Services().ByName("WorkflowService").Methods()
	for i := range methods.Len() {
		m := methods.Get(i)
		rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok {
			continue
		}
		key := http.MethodGet + " " + rule.GetGet()
		if rule.GetPost() != "" {
			key = http.MethodPost + " " + rule.GetPost()
		}
		all[key] = route{name: string(m.Name()), request: m.Input(), hasBody: rule.GetBody() != ""}
	}
	return all
}()

// routeOf finds the route of a request by the pattern that has matched it, as grpc-gateway writes it.
func routeOf(method, pattern string) (route, bool) {
	r, ok := routes[method+" "+strings.ReplaceAll(pattern, "=*", "")]
	return r, ok
}

// checkQuery refuses query parameters that the route does not have: a misspelt filter would list everything.
func (r route) checkQuery(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return &events.Error{Code: events.InvalidArgument, Message: "the query is malformed: " + err.Error()}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case r.hasBody:
			return &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("%s takes no query parameters; put %q into the body", r.name, name)}
		case !hasField(r.request, strings.Split(name, ".")):
			return &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("%s has no parameter %q; /openapi.json lists them", r.name, name)}
		}
	}
	return nil
}

func hasField(m protoreflect.MessageDescriptor, path []string) bool {
	for i, name := range path {
		field := m.Fields().ByName(protoreflect.Name(name))
		if field == nil {
			field = m.Fields().ByJSONName(name)
		}
		switch {
		case field == nil:
			return false
		case i == len(path)-1:
			return true
		case field.Message() == nil:
			return false
		}
		m = field.Message()
	}
	return false
}
