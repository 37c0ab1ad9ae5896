package wire

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/continuo-dev/continuo/pkg/events"
)

// ToTime converts a time; the zero Time gives nil.
func ToTime(t events.Time) *timestamppb.Timestamp {
	if t == 0 {
		return nil
	}
	return timestamppb.New(t.Std())
}

// FromTime converts a time, rounding down to a microsecond; nil gives the zero Time. field names it in the error.
func FromTime(field string, t *timestamppb.Timestamp) (events.Time, error) {
	if t == nil {
		return 0, nil
	}
	if err := t.CheckValid(); err != nil {
		return 0, invalid("%s is not a time: %v", field, err)
	}
	return events.TimeOf(t.AsTime()), nil
}

// ToDuration converts a duration; 0 gives nil.
func ToDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// FromDuration converts a duration; nil gives 0. It refuses negative durations and those above 292 years. field names
// it in the error.
func FromDuration(field string, d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	std := d.AsDuration()
	switch {
	case d.CheckValid() != nil || !durationEqual(d, std):
		return 0, invalid("%s is out of range: a duration has at most 292 years", field)
	case std < 0:
		return 0, invalid("%s is negative: %s", field, std)
	}
	return std, nil
}

func durationEqual(d *durationpb.Duration, std time.Duration) bool {
	back := durationpb.New(std)
	return back.GetSeconds() == d.GetSeconds() && back.GetNanos() == d.GetNanos()
}
