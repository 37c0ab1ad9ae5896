package bench

import (
	"context"
	"fmt"
	"strings"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// text is what every call takes and returns: 100 bytes with its quotes.
var text = strings.Repeat("x", 98)

var (
	oneTask   = flow.NewWorkflow[string, string]("bench.OneTask")
	seq10     = flow.NewWorkflow[string, string]("bench.Seq10")
	steps10   = flow.NewWorkflow[string, string]("bench.Steps10")
	fanout100 = flow.NewWorkflow[string, string]("bench.Fanout100")
	echo      = flow.NewTask[string, string]("bench.Echo")
)

// bindings is the code that the workers have.
func bindings() []flow.Binding {
	return append(waitingBindings(),
		oneTask.With(echo.Call),
		seq10.With(runSeq10),
		steps10.With(runSteps10),
		fanout100.With(runFanout100),
		echo.With(func(_ context.Context, in string) (string, error) { return in, nil }),
	)
}

func runSeq10(ctx flow.Context, in string) (out string, err error) {
	for range 10 {
		if in, err = echo.Call(ctx, in); err != nil {
			return "", err
		}
	}
	return in, nil
}

func runSteps10(ctx flow.Context, in string) (out string, err error) {
	for range 10 {
		in, err = flow.Step(ctx, "echo", func(context.Context) (string, error) { return in, nil })
		if err != nil {
			return "", err
		}
	}
	return in, nil
}

func runFanout100(ctx flow.Context, in string) (string, error) {
	var parts []*flow.Future[string]
	for range 100 {
		parts = append(parts, flow.Go(ctx, echo.Call, in))
	}
	all, err := flow.All(ctx, parts...)
	if err != nil {
		return "", err
	}
	for i, part := range all {
		if part != in {
			return "", fmt.Errorf("part %d is %q", i, part)
		}
	}
	return in, nil
}
