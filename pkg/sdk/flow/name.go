package flow

import (
	"fmt"
	"reflect"
	goruntime "runtime"
	"strings"
	"sync"

	"github.com/continuo-dev/continuo/pkg/events"
)

// contract is a method of a service: what a method expression stands for.
type contract struct {
	name      string // durable: package.Type.Method
	path      string // of the package, with the type: tells two packages of one name apart
	signature string
	err       error
}

// contracts remembers method expressions by their code and receiver, for [Call] and [Do] make one at every call.
var contracts sync.Map // of contractKey to *contract

type contractKey struct {
	pc       uintptr
	receiver reflect.Type
}

// contractOf finds the durable name of a method expression.
func contractOf(method any) *contract {
	v := reflect.ValueOf(method)
	if v.Kind() != reflect.Func || v.IsNil() {
		return &contract{err: refused("", "the method is nil; give a method expression such as PaymentService.Request")}
	}
	key := contractKey{v.Pointer(), v.Type().In(0)}
	if known, ok := contracts.Load(key); ok {
		return known.(*contract)
	}
	c := newContract(v)
	contracts.Store(key, c)
	return c
}

func newContract(v reflect.Value) *contract {
	receiver := v.Type().In(0)
	symbol := goruntime.FuncForPC(v.Pointer()).Name()
	if err := checkInterface(receiver); err != nil {
		return &contract{err: refused(symbol, "%v", err)}
	}
	method, ok := methodOf(symbol, receiver)
	if !ok {
		return &contract{err: refused(symbol, "this is not a method expression of %s; closures, functions and local interfaces have no durable name", receiver)}
	}
	return &contract{
		name: typeName(receiver) + "." + method, path: typePath(receiver), signature: signatureOf(v.Type(), 2),
	}
}

// checkInterface says why methods of a type have no durable name.
func checkInterface(t reflect.Type) error {
	switch {
	case t.Kind() != reflect.Interface:
		return fmt.Errorf("%s is not an interface; a service is called by the methods of its interface", t)
	case t.Name() == "":
		return fmt.Errorf("the interface has no name; declare a type for it")
	}
	return nil
}

// methodOf takes the method's name from the symbol of its method expression, after checking that the rest of the symbol is
// the receiver's. Symbols have the whole package path with dots of the last element escaped, type arguments are left out,
// and package main is "main" in a binary.
func methodOf(symbol string, receiver reflect.Type) (string, bool) {
	i := strings.LastIndexByte(symbol, '.')
	if i < 0 {
		return "", false
	}
	owner, method := symbol[:i], symbol[i+1:]
	if _, ok := receiver.MethodByName(method); !ok {
		return "", false
	}
	owner = strings.TrimSuffix(owner, "[...]")
	name, _, _ := strings.Cut(receiver.Name(), "[")
	path := receiver.PkgPath()
	return method, owner == path+"."+name || owner == escapePath(path)+"."+name
}

// escapePath writes a package path as symbols have it: dots of the last element escaped.
func escapePath(path string) string {
	i := strings.LastIndexByte(path, '/') + 1
	return path[:i] + strings.ReplaceAll(path[i:], ".", "%2e")
}

// typeName is package.Type; spaces, which type arguments may have, are no part of names.
func typeName(t reflect.Type) string { return strings.ReplaceAll(t.String(), " ", "") }

func typePath(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// names remembers which package made a durable name first.
var names sync.Map // of name to path

// claimName refuses a name that another package path has, and one that breaks the rules of names.
func claimName(name, path string) error {
	if err := events.TaskName(name).Validate(); err != nil {
		return refused(name, "%v; set another with flow.Name", err)
	}
	if first, taken := names.LoadOrStore(name, path); taken && first != path {
		return &duplicateError{name, first.(string), path}
	}
	return nil
}

// duplicateError says that two contracts have one name.
type duplicateError struct{ name, first, second string }

func (e *duplicateError) Error() string {
	return fmt.Sprintf("flow: the durable name %q means %s and %s; give one of them another with flow.Name", e.name, e.first, e.second)
}

// Is makes errors.Is find the code.
func (e *duplicateError) Is(target error) bool {
	t, ok := target.(*events.Error)
	return ok && t.Code == events.DuplicateName
}

// FailureCode is the code of an activation that failed because of the definition.
func (e *duplicateError) FailureCode() string { return events.CodeBadDefinition }

// signatureOf writes the types of a function's arguments from the given one on and of its result, such as
// "billing.Charge -> billing.Payment". Fields are not part of it: they may be added while old workers run.
func signatureOf(t reflect.Type, skip int) string {
	var b strings.Builder
	for i := skip; i < t.NumIn(); i++ {
		if i > skip {
			b.WriteString(", ")
		}
		b.WriteString(t.In(i).String())
	}
	b.WriteString(" -> ")
	if t.NumOut() == 2 && t.Out(0) != reflect.TypeFor[None]() {
		b.WriteString(t.Out(0).String())
	}
	return strings.TrimSpace(b.String())
}
