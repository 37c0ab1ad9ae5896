package sim

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// What the simulated programs say is the same as the SDK's own JSON of it, and is read as that is read.
func TestPayloadsAreThoseOfTheSDK(t *testing.T) {
	t.Parallel()
	texts := rapid.OneOf(rapid.SampledFrom([]string{"", "none", "task timeout", `a "quoted" one`, "ü", "<", "a\tb"}), rapid.String())
	var list func(depth int) *rapid.Generator[[]seen]
	list = func(depth int) *rapid.Generator[[]seen] {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) seen {
			s := seen{Op: opKind(texts.Draw(t, "op")), Value: rapid.Int64().Draw(t, "value"), Values: texts.Draw(t, "values"), Err: texts.Draw(t, "err")}
			if depth > 0 {
				s.Inner = list(depth-1).Draw(t, "inner")
			}
			return s
		}), 0, 3)
	}
	generations := rapid.SliceOfN(list(2), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		all := generations.Draw(t, "generations")
		samePayload(t, call{Value: rapid.Int64().Draw(t, "v"), Failures: rapid.Int().Draw(t, "f"), Permanent: rapid.Bool().Draw(t, "p")})
		samePayload(t, input{Program: rapid.Int().Draw(t, "p"), Generation: rapid.IntRange(0, 3).Draw(t, "g"), Seen: all})
		samePayload(t, all)
	})
	samePayload(t, [][]seen(nil))
	samePayload(t, [][]seen{nil, {}})
}

func samePayload[V any](t interface {
	Helper()
	Fatalf(format string, args ...any)
}, v V,
) {
	t.Helper()
	want, err := payload.Converter{}.Encode(v)
	if err != nil {
		t.Fatalf("%+v: %v", v, err)
	}
	got, err := payloads.Encode(v)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v is sent as %s, by the SDK as %s, %v", v, got.Data, want.Data, err)
	}
	var read, wanted V
	if err := payloads.Decode(got, &read); err != nil {
		t.Fatalf("%s: %v", got.Data, err)
	}
	if err := json.Unmarshal(want.Data, &wanted); err != nil || !reflect.DeepEqual(read, wanted) {
		t.Fatalf("%s is read as %+v, by the SDK as %+v, %v", got.Data, read, wanted, err)
	}
}

// What is not written by it is read by the SDK, or not at all.
func TestPayloadsOfOthersAreReadByTheSDK(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`, `{"v":1.0}`, `{"v": 1}`, `{"v":01}`, `{"v":-}`, `{"v":9223372036854775807}`, `{"v":9223372036854775808}`, `{"v":1,"p":false}`,
		`{"f":2,"v":1}`, `{"v":1}{`, `{"v":1`, ``, `null`, `[`, `{"v":1,"f":1,"p":true}`,
	} {
		var got, want call
		ok, err := quick{}.Unmarshal([]byte(text), &got)
		if wanted := json.Unmarshal([]byte(text), &want); ok && (wanted != nil || got != want) || err != nil {
			t.Errorf("%s is read as %+v, %v; by the SDK as %+v, %v", text, got, err, want, wanted)
		}
	}
}
