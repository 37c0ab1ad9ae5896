package main

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// engine is the C interface of libchdb, as much of it as the front needs. Strings go in as address and length; results are
// handles that have to be given back.
type engine struct {
	connect     func(argc int32, argv unsafe.Pointer) *unsafe.Pointer
	disconnect  func(connection *unsafe.Pointer)
	signals     func(on int32)
	query       func(c, text unsafe.Pointer, textLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	failure     func(result unsafe.Pointer) string
	data        func(result unsafe.Pointer) unsafe.Pointer
	length      func(result unsafe.Pointer) uintptr
	free        func(result unsafe.Pointer)
	insert      func(c, text unsafe.Pointer, textLen uintptr, format unsafe.Pointer, formatLen uintptr) unsafe.Pointer
	insertError func(stream unsafe.Pointer) string
	push        func(stream, data unsafe.Pointer, n uintptr) int32
	finish      func(stream unsafe.Pointer) unsafe.Pointer
	freeInsert  func(stream unsafe.Pointer)
}

// load opens the library.
func load(path string) (*engine, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	e := &engine{}
	for _, f := range []struct {
		name string
		into any
	}{
		{"chdb_connect", &e.connect},
		{"chdb_close_conn", &e.disconnect},
		{"chdb_set_signal_handlers_enabled", &e.signals},
		{"chdb_query_with_params_n", &e.query},
		{"chdb_result_error", &e.failure},
		{"chdb_result_buffer", &e.data},
		{"chdb_result_length", &e.length},
		{"chdb_destroy_query_result", &e.free},
		{"chdb_stream_insert_n", &e.insert},
		{"chdb_stream_insert_error", &e.insertError},
		{"chdb_stream_append", &e.push},
		{"chdb_stream_done", &e.finish},
		{"chdb_destroy_insert_stream", &e.freeInsert},
	} {
		if _, err := purego.Dlsym(handle, f.name); err != nil {
			return nil, fmt.Errorf("%s lacks %s: %w", path, f.name, err)
		}
		purego.RegisterLibFunc(f.into, handle, f.name)
	}
	e.signals(0) // they are the Go runtime's
	return e, nil
}

// connection runs one statement at a time.
type connection struct {
	engine *engine
	handle *unsafe.Pointer
}

// open connects to the data in a directory, which one process may use at a time.
func (e *engine) open(dir string) (*connection, error) {
	args := [][]byte{[]byte("clickhouse\x00"), []byte("--path=" + dir + "\x00")}
	argv := make([]unsafe.Pointer, len(args)+1)
	for i := range args {
		argv[i] = unsafe.Pointer(&args[i][0])
	}
	handle := e.connect(int32(len(args)), unsafe.Pointer(&argv[0]))
	runtime.KeepAlive(args)
	if handle == nil || *handle == nil {
		return nil, fmt.Errorf("the engine cannot use %s; another process may do so", dir)
	}
	return &connection{engine: e, handle: handle}, nil
}

func (c *connection) close() { c.engine.disconnect(c.handle) }

// run executes a statement and returns its whole result in the given format. Parameter values are escaped as fields of TSV.
func (c *connection) run(statement, format string, parameters map[string]string) ([]byte, error) {
	var names, values []unsafe.Pointer
	var nameLens, valueLens []uintptr
	for name, value := range parameters {
		names, nameLens = append(names, address(name)), append(nameLens, uintptr(len(name)))
		values, valueLens = append(values, address(value)), append(valueLens, uintptr(len(value)))
	}
	result := c.engine.query(*c.handle, address(statement), uintptr(len(statement)), address(format), uintptr(len(format)),
		first(names), first(nameLens), first(values), first(valueLens), uintptr(len(names)))
	runtime.KeepAlive([]any{statement, format, parameters, names, values, nameLens, valueLens})
	return c.engine.take(result)
}

// load inserts data that is encoded in the given format; the statement names table and columns only.
func (c *connection) load(statement, format string, data []byte) error {
	stream := c.engine.insert(*c.handle, address(statement), uintptr(len(statement)), address(format), uintptr(len(format)))
	runtime.KeepAlive([]any{statement, format})
	if stream == nil {
		return errors.New("the engine does not begin the insert")
	}
	defer c.engine.freeInsert(stream)
	if failure := c.engine.insertError(stream); failure != "" {
		return errors.New(failure)
	}
	if c.engine.push(stream, first(data), uintptr(len(data))) != 0 {
		if failure := c.engine.insertError(stream); failure != "" {
			return errors.New(failure)
		}
	}
	runtime.KeepAlive(data)
	_, err := c.engine.take(c.engine.finish(stream))
	return err
}

// take copies a result and gives it back.
func (e *engine) take(result unsafe.Pointer) ([]byte, error) {
	if result == nil {
		return nil, errors.New("the engine has no result")
	}
	defer e.free(result)
	if failure := e.failure(result); failure != "" {
		return nil, errors.New(failure)
	}
	n := e.length(result)
	if n == 0 {
		return nil, nil
	}
	return append([]byte(nil), unsafe.Slice((*byte)(e.data(result)), n)...), nil
}

// address is that of a string's bytes, which the caller keeps alive.
func address(s string) unsafe.Pointer {
	if s == "" {
		s = "\x00"
	}
	return unsafe.Pointer(unsafe.StringData(s))
}

func first[T any](list []T) unsafe.Pointer {
	if len(list) == 0 {
		return nil
	}
	return unsafe.Pointer(&list[0])
}
