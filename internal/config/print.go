package config

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Origins tells by setting where its value came from: "file PATH", the name of an environment variable, or a flag. Settings that
// are not in it have their default.
type Origins map[string]string

// Settings returns the names of all settings, in the order of the reference.
func Settings() []string {
	t := reflect.TypeFor[Server]()
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("koanf")
	}
	return names
}

// YAML writes the configuration as a file that says the same, with where each value came from. Passwords in URLs are left out.
func (c Server) YAML(origins Origins) string {
	var text strings.Builder
	v := reflect.ValueOf(c)
	for i, name := range Settings() {
		var value string
		switch field := v.Field(i).Interface().(type) {
		case string:
			value = strconv.Quote(withoutSecrets(field))
		case time.Duration:
			value = field.String()
		default:
			value = fmt.Sprint(field)
		}
		from := origins[name]
		if from == "" {
			from = "default"
		}
		fmt.Fprintf(&text, "%s: %s # %s\n", name, value, from)
	}
	return text.String()
}

// isSecret judges the parameter of a URL by its name.
func isSecret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"pass", "secret", "token", "key", "sig", "cred"}, func(part string) bool { return strings.Contains(name, part) })
}

// withoutSecrets hides the password of a URL, and parameters that look like one. Other texts stay as they are.
func withoutSecrets(text string) string {
	if !strings.Contains(text, "://") || !strings.ContainsAny(text, "@?") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "xxxxx" // it may have a password, and nobody can tell where
	}
	if u.RawQuery != "" {
		parameters := u.Query()
		for name := range parameters {
			if isSecret(name) {
				parameters.Set(name, "xxxxx")
			}
		}
		u.RawQuery = parameters.Encode()
	}
	return u.Redacted()
}
