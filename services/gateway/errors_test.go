package gateway

import (
	"errors"
	"fmt"
	"testing"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
)

// TestAReadModelThatCannotBeReadIsTriedAgain shows that clients are not told of a bug when a model is built anew or its disk
// fails.
func TestAReadModelThatCannotBeReadIsTriedAgain(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]events.Code{
		readmodel.ErrDamaged: events.Unavailable, readmodel.ErrUnavailable: events.Unavailable, errors.New("something else"): events.Internal,
	} {
		if got := codeOf(asStatus(fmt.Errorf("read the run: %w", err))); got != want {
			t.Errorf("%v has code %s, want %s", err, got, want)
		}
	}
}
