package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/v2"
)

// decode makes a configuration of what was read. It refuses names that are no settings, with where they came from.
func decode(k *koanf.Koanf, origins Origins) (Server, error) {
	var unknown []string
	for _, name := range k.Keys() {
		if !slices.Contains(Settings(), name) {
			unknown = append(unknown, fmt.Sprintf("%s: there is no setting %q", origins[name], name))
		}
	}
	if len(unknown) > 0 {
		return Server{}, fmt.Errorf("%w: %s; 'continuo config print' without it lists those there are", ErrInvalid, strings.Join(unknown, "; "))
	}
	c := Default()
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "koanf", WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(durationHasUnit, mapstructure.StringToTimeDurationHookFunc()),
	}})
	if err != nil {
		return Server{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return c, nil
}

// durationHasUnit refuses a plain number for a duration, which would be taken as nanoseconds.
func durationHasUnit(from, to reflect.Type, value any) (any, error) {
	if to == reflect.TypeFor[time.Duration]() && from != to && (from.Kind() == reflect.Int || from.Kind() == reflect.Float64) {
		return nil, fmt.Errorf("%v has no unit; write %vs for seconds, or use ms, m, h", value, value)
	}
	return value, nil
}
