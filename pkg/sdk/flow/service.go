package flow

import (
	"context"
	"reflect"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// maxArgs is how many arguments a method of a service may have beside the context.
const maxArgs = 3

// Service binds an implementation to every method of the interface I, which must be given:
//
//	worker.New(c, flow.Service[PaymentService](stripe.New(key)))
//
// Every method takes a context.Context and up to three arguments, and returns an error or a value and an error. A method of
// another shape, a nil implementation, and an I that is no named interface are refused by [NewRegistry].
func Service[I any](impl I, opts ...ServiceOption) Binding {
	t := reflect.TypeFor[I]()
	var o serviceOptions
	for _, opt := range opts {
		opt.applyService(&o)
	}
	b := &serviceBinding{}
	name := o.name
	if name == "" {
		name = typeName(t)
	}
	refuse := func(format string, args ...any) { b.errs = append(b.errs, refused(name, format, args...)) }
	if err := checkInterface(t); err != nil {
		refuse("%v: write flow.Service[Interface](implementation)", err)
		return b
	}
	v := reflect.ValueOf(&impl).Elem()
	if v.IsNil() || isNilPointer(v.Elem()) {
		refuse("the implementation is nil")
		return b
	}
	for m := range t.Methods() {
		if !m.IsExported() {
			refuse("method %s is not exported", m.Name)
			continue
		}
		if reason := checkShape(m.Type); reason != "" {
			refuse("method %s %s", m.Name, reason)
			continue
		}
		d := newDefinition(&contract{name: name + "." + m.Name, path: typePath(t), signature: signatureOf(m.Type, 1)}, nil)
		b.tasks = append(b.tasks, &taskBinding{def: d, run: runMethod(v.Elem().MethodByName(m.Name))})
	}
	return b
}

func isNilPointer(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan, reflect.Interface:
		return v.IsNil()
	default:
		return false
	}
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// checkShape says what is wrong with the type of an interface's method.
func checkShape(t reflect.Type) string {
	switch {
	case t.IsVariadic():
		return "is variadic; take a slice instead"
	case t.NumIn() == 0 || t.In(0) != contextType:
		return "does not take a context.Context first"
	case t.NumIn() > 1+maxArgs:
		return "takes more than three arguments; take a struct instead"
	case t.NumOut() == 0 || t.NumOut() > 2 || t.Out(t.NumOut()-1) != errorType:
		return "must return an error, or a value and an error"
	}
	return ""
}

// runMethod returns what decodes the arguments, calls the method and encodes its result.
func runMethod(method reflect.Value) runTask {
	t := method.Type()
	return func(ctx context.Context, c payload.Converter, input events.Payload) (events.Payload, error) {
		args, pointers := []reflect.Value{reflect.ValueOf(ctx)}, []any{}
		for i := 1; i < t.NumIn(); i++ {
			p := reflect.New(t.In(i))
			args, pointers = append(args, p.Elem()), append(pointers, p.Interface())
		}
		if err := c.DecodeArgs(input, pointers...); err != nil {
			return events.Payload{}, err
		}
		out := method.Call(args)
		if err, failed := reflect.TypeAssert[error](out[len(out)-1]); failed {
			return events.Payload{}, err
		}
		if len(out) == 1 {
			return events.Payload{}, nil
		}
		return c.Encode(out[0].Interface())
	}
}
