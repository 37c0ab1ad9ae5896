package config_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/continuo-dev/continuo/internal/config"
)

// settingRow is a line of a table of settings: name, variable, flag, default, meaning.
var settingRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| `([A-Z0-9_]+)` \\| `(--[a-z0-9-]+)` \\| (.+?) \\| (.+) \\|$")

// The reference has one line for every setting and no other, with its variable, its flag and its default; every setting has a flag.
func TestEverySettingIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/reference/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	flags, clusters := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	config.Flags(flags)
	config.ClusterFlags(clusters)
	flags.AddFlagSet(clusters)
	defaults := reflect.ValueOf(config.Default())
	settings := config.Settings()
	rows := map[string]bool{}
	for _, row := range settingRow.FindAllStringSubmatch(string(page), -1) {
		name, variable, flag, said := row[1], row[2], row[3], row[4]
		i := slices.Index(settings, name)
		if i < 0 || rows[name] {
			t.Errorf("%s is documented and no setting, or twice", name)
			continue
		}
		rows[name] = true
		if variable != config.EnvPrefix+strings.ToUpper(name) || flag != "--"+strings.ReplaceAll(name, "_", "-") {
			t.Errorf("%s: the page has %s and %s", name, variable, flag)
		}
		if value := defaults.Field(i); !value.IsZero() && said != "`"+plain(value.Interface())+"`" {
			t.Errorf("%s: the default is %v, the page says %s", name, value, said)
		}
	}
	for _, name := range settings {
		if !rows[name] {
			t.Errorf("docs/reference/configuration.md lacks %s", name)
		}
		if flags.Lookup(strings.ReplaceAll(name, "_", "-")) == nil {
			t.Errorf("%s has no flag", name)
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(settings, strings.ReplaceAll(f.Name, "-", "_")) {
			t.Errorf("--%s is no setting", f.Name)
		}
	})
}

// plain is how the page writes a default.
func plain(value any) string {
	if d, ok := value.(time.Duration); ok && d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprint(value)
}

// What is printed is a file that says the same, and has no password.
func TestPrintedSettingsCanBeRead(t *testing.T) {
	t.Parallel()
	want := config.Default()
	want.Data, want.Pulsar, want.InsecureOpenBind, want.RetentionHistory = "/var/lib/\"continuo\"", "pulsar://a:6650,b:6650", true, 90*time.Hour
	got, err := load(t, want.YAML(nil))
	if err != nil || got != want {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	for _, url := range []string{
		"http://me:secret@ch:8123/continuo", "http://ch:8123/continuo?password=secret&user=me", "http://ch:8123/continuo?Access_Token=secret", "clickhouse://me:secret@a:9000,b:9000/continuo",
		"http://me:secret@ch:bad port/?x=secret",
	} {
		want.ClickHouse = url
		if text := want.YAML(config.Origins{"clickhouse": "CONTINUO_CLICKHOUSE"}); strings.Contains(text, "secret") || !strings.Contains(text, "# CONTINUO_CLICKHOUSE") {
			t.Errorf("%s is printed as\n%s", url, text)
		}
	}
}
