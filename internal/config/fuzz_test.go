package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/continuo-dev/continuo/internal/config"
)

// Whatever file, environment and flags say, it is a configuration that passes its own checks, or an error that says it is the
// configuration's.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("data: /var/lib/continuo\nretention_history: 2160h\nlog_format: json\n"), "5s", "--http-addr=127.0.0.1:0")
	f.Add([]byte("data: [1, 2]\nunknown: {a: 1}\n"), "", "--drain-timeout=1h")
	f.Add([]byte("max_payload_bytes: 1e6\n<<: *x\n"), "-1", "--data=")
	f.Add([]byte("data: &a [*a]\n"), "9999999h", "--max-payload-bytes=0x400")
	f.Add([]byte{}, "1", "-h")
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, file []byte, drain, flag string) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(drain, "\x00") {
			return // no environment can have that
		}
		t.Setenv(config.EnvPrefix+"DRAIN_TIMEOUT", drain)
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		flags.Usage = func() {}
		config.Flags(flags)
		if flags.Parse([]string{flag}) != nil {
			return
		}
		c, err := config.Load(path, flags)
		if err != nil {
			if !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("the error does not say that the configuration is wrong: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("it was loaded and is wrong: %v", err)
		}
	})
}
