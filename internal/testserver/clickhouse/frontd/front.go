package main

import (
	"bytes"
	"compress/gzip"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
)

// connections is how many statements run at a time.
const connections = 4

// front answers ClickHouse's HTTP interface out of the engine, as far as its Go driver uses it. It is no server: there are
// no users but one, no sessions, and no log of queries.
type front struct {
	idle           chan *connection
	version, zone  string
	user, password string // what requests must have, if not empty
}

func newFront(e *engine, dir, user, password string) (*front, error) {
	f := &front{idle: make(chan *connection, connections), user: user, password: password}
	var c *connection
	for range connections {
		var err error
		if c, err = e.open(dir); err != nil {
			return nil, err
		}
		f.idle <- c
	}
	about, err := c.run("SELECT version(), timezone()", "TSV", nil)
	if err != nil {
		return nil, err
	}
	f.version, f.zone, _ = strings.Cut(strings.TrimSpace(string(about)), "\t")
	return f, nil
}

// close waits for the statements that run and gives the directory back.
func (f *front) close() {
	for range connections {
		(<-f.idle).close()
	}
}

// ServeHTTP runs one statement.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" {
		fmt.Fprintln(w, "Ok.")
		return
	}
	if err := f.authenticate(r); err != nil {
		w.Header().Set("X-ClickHouse-Exception-Code", "516")
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	values := r.URL.Query()
	result, err := f.answer(r, values)
	if err != nil {
		refuse(w, err)
		return
	}
	if values.Get("compress") != "1" {
		w.Header().Set("Content-Length", strconv.Itoa(len(result)))
		_, _ = w.Write(result) // a client that is gone needs no answer
		return
	}
	frames := compress.NewWriter(compress.LevelZero, compress.LZ4)
	for chunk := range slices.Chunk(result, 1<<20) {
		if err := frames.Compress(chunk); err != nil {
			refuse(w, err)
			return
		}
		_, _ = w.Write(frames.Data)
	}
}

func (f *front) authenticate(r *http.Request) error {
	user, password, ok := r.BasicAuth()
	if !ok {
		user, password = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	if f.user == "" || subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(f.user+"\x00"+f.password)) == 1 {
		return nil
	}
	return fmt.Errorf("Code: 516. DB::Exception: %s: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)", user) //nolint:staticcheck // as ClickHouse says it
}

var (
	insertStatement = regexp.MustCompile(`(?is)^(\s*INSERT\s+INTO\s.*?)\s+FORMAT\s+(\w+)\s*$`)
	exceptionCode   = regexp.MustCompile(`Code: (\d+)\.`)
	identifier      = regexp.MustCompile(`^\w+$`)
)

// notSettings are the arguments of a request that say something about the request itself.
var notSettings = []string{
	"query", "database", "default_format", "client_protocol_version", "query_id", "quota_key", "user", "password", "session_id", "compress", "decompress",
	"network_compression_method", "network_zstd_compression_level", "wait_end_of_query", "enable_http_compression",
}

func (f *front) answer(r *http.Request, values url.Values) ([]byte, error) {
	statement, data, err := read(r, values)
	if err != nil {
		return nil, err
	}
	format := values.Get("default_format")
	if format == "" {
		format = "TabSeparated"
	}
	if format == "Native" && strings.HasPrefix(statement, helloStatement) {
		return f.hello(values.Get("client_protocol_version")), nil
	}
	parameters, settings, defaults := map[string]string{}, []string{}, []string{}
	for name := range values {
		switch parameter, ok := strings.CutPrefix(name, "param_"); {
		case ok:
			parameters[parameter] = values.Get(name)
		case !slices.Contains(notSettings, name) && identifier.MatchString(name):
			settings = append(settings, name+" = "+quote(values.Get(name)))
			defaults = append(defaults, name+" = DEFAULT")
		}
	}
	c := <-f.idle
	defer func() { f.idle <- c }()
	if database := values.Get("database"); database != "" {
		if _, err := c.run("USE `"+strings.ReplaceAll(database, "`", "")+"`", "TSV", nil); err != nil {
			return nil, err
		}
	}
	if len(settings) > 0 {
		if _, err := c.run("SET "+strings.Join(settings, ", "), "TSV", nil); err != nil {
			return nil, err
		}
		defer func() { _, _ = c.run("SET "+strings.Join(defaults, ", "), "TSV", nil) }()
	}
	if m := insertStatement.FindStringSubmatch(statement); m != nil && len(data) > 0 {
		return nil, c.load(m[1], m[2], data)
	}
	if len(data) > 0 {
		statement += "\n" + string(data)
	}
	return c.run(statement, format, parameters)
}

// read returns the statement of a request, and the data that follows it.
func read(r *http.Request, values url.Values) (statement string, data []byte, err error) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return "", nil, err
		}
	}
	if values.Get("decompress") == "1" {
		body = compress.NewReader(body)
	}
	data, err = io.ReadAll(body)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", nil, err
	}
	if statement = values.Get("query"); statement == "" {
		return string(data), nil, nil
	}
	return statement, data, nil
}

func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// refuse tells of an error as ClickHouse does: its code in a header, its text in the body.
func refuse(w http.ResponseWriter, err error) {
	if m := exceptionCode.FindStringSubmatch(err.Error()); m != nil {
		w.Header().Set("X-ClickHouse-Exception-Code", m[1])
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// helloStatement is what the driver asks first.
const helloStatement = "SELECT displayName(), version(), revision(), timezone()"

// hello answers the driver's first question with revision 0: it reads plain Native blocks from then on, which is what the
// engine writes. This block alone is in the driver's own revision.
func (f *front) hello(clientRevision string) []byte {
	const blockInfo, serialization = 1, 54454 // the revisions that brought them
	revision, err := strconv.Atoi(clientRevision)
	if err != nil {
		revision = 0
	}
	var b bytes.Buffer
	text := func(s string) {
		b.WriteByte(byte(len(s)))
		b.WriteString(s)
	}
	if revision >= blockInfo {
		b.Write([]byte{1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0})
	}
	b.Write([]byte{4, 1}) // columns, rows
	column := func(name, of string, value func()) {
		text(name)
		text(of)
		if revision >= serialization {
			b.WriteByte(0)
		}
		value()
	}
	column("displayName()", "String", func() { text("ClickHouse engine") })
	column("version()", "String", func() { text(f.version) })
	column("revision()", "UInt32", func() { b.Write([]byte{0, 0, 0, 0}) })
	column("timezone()", "String", func() { text(f.zone) })
	return b.Bytes()
}
