package flow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	left "github.com/continuo-dev/continuo/pkg/sdk/flow/testdata/names/left/billing"
	right "github.com/continuo-dev/continuo/pkg/sdk/flow/testdata/names/right/billing"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

// TestNamesAreTheSameHoweverTheProgramIsBuilt pins durable names: a change of any of them would strand open runs.
func TestNamesAreTheSameHoweverTheProgramIsBuilt(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a program twice")
	}
	golden, err := os.ReadFile("testdata/names/names.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{nil, {"-trimpath", "-ldflags=-s -w"}} {
		t.Run(fmt.Sprint(flags), func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "names")
			build := append(append([]string{"build", "-o", binary}, flags...), "./testdata/names")
			if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			out, err := exec.Command(binary).CombinedOutput()
			if err != nil || string(out) != string(golden) {
				t.Errorf("%v\ngot:\n%swant:\n%s", err, out, golden)
			}
		})
	}
}

type concrete struct{}

func (concrete) Get(context.Context, int) (string, error)     { return "", nil }
func (concrete) Many(context.Context, ...int) (string, error) { return "", nil }
func function(left.Service, context.Context, int) (string, error) { //nolint:revive // the shape of a method expression
	return "", nil
}
func (s *services) Four(context.Context, int, int, int, int) error { return nil }
func (s *services) NoContext(int) error                            { return nil }
func (s *services) NoError(context.Context) int                    { return 0 }
func (s *services) Many(context.Context, ...int) (string, error)   { return "", nil }
func (s *services) hidden(context.Context, int) (string, error)    { return "", nil }

type wrong interface {
	Four(ctx context.Context, a, b, c, d int) error
	NoContext(n int) error
	NoError(ctx context.Context) int
	Many(ctx context.Context, n ...int) (string, error)
	hidden(ctx context.Context, n int) (string, error)
}

func TestDefinitionsThatAreRefused(t *testing.T) {
	t.Parallel()
	type anonymous = interface { //nolint:iface // it has no name
		Get(ctx context.Context, n int) (string, error)
	}
	type inside interface { //nolint:iface // it is local
		Get(ctx context.Context, n int) (string, error)
	}
	var none func(left.Service, context.Context, int) (string, error)
	for name, c := range map[string]struct {
		binding flow.Binding
		want    string
	}{
		"concrete receiver":   {flow.Method(concrete.Get).With(nil), "flow_test.concrete is not an interface"},
		"function":            {flow.Method(function).With(nil), "not a method expression of billing.Service"},
		"closure":             {flow.Method(func(left.Service, context.Context, int) (string, error) { return "", nil }).With(nil), "not a method expression"},
		"anonymous interface": {flow.Method(anonymous.Get).With(nil), "no name"},
		"local interface":     {flow.Method(inside.Get).With(nil), "local interfaces have no durable name"},
		"nil method":          {flow.Method(none).With(nil), "the method is nil"},
		"bad option":          {flow.NewTask[int, int]("test.A", flow.Timeout(-1)).With(nil), "flow.Timeout(-1ns) is negative"},
		"bad retry":           {flow.NewTask[int, int]("test.A", flow.Retry(flow.RetryPolicy{Factor: 0.5})).With(nil), "Factor 0.5 is below 1"},
		"bad queue":           {flow.NewTask[int, int]("test.A", flow.Queue("a b")).With(nil), "task queue"},
		"bad name":            {flow.NewTask[int, int]("a b").With(nil), "task name"},
		"name at a call":      {flow.NewTask[int, int]("test.A").Opt(flow.Name("other")).With(nil), "belongs to the definition"},
		"no code":             {flow.NewTask[int, int]("test.A").With(nil), "no code to bind"},
		"no workflow code":    {testFlow.With(nil), "no code to bind"},
		"zero task":           {flow.Task[int, int]{}.With(nil), "zero Task"},
		"zero workflow":       {flow.Workflow[int, int]{}.With(nil), "zero Workflow"},
		"bad workflow":        {flow.NewWorkflow[int, int]("").With(nil), "workflow type is empty"},
		"concrete service":    {flow.Service(concrete{}), "flow_test.concrete is not an interface"},
		"nil service":         {flow.Service[left.Service](nil), "the implementation is nil"},
		"nil pointer":         {flow.Service[ConsumptionService]((*services)(nil)), "the implementation is nil"},
		"four arguments":      {flow.Service[wrong](&services{}), "method Four takes more than three arguments"},
		"no context":          {flow.Service[wrong](&services{}), "method NoContext does not take a context.Context first"},
		"no error":            {flow.Service[wrong](&services{}), "method NoError must return an error"},
		"variadic":            {flow.Service[wrong](&services{}), "method Many is variadic"},
		"unexported":          {flow.Service[wrong](&services{}), "method hidden is not exported"},
		"nil binding":         {nil, "binding 1 is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := flow.NewRegistry(c.binding)
			wants(t, fmt.Sprint(err), c.want)
		})
	}
}

func TestTwoCodesOfOneName(t *testing.T) {
	t.Parallel()
	duplicate := &events.Error{Code: events.DuplicateName}
	if _, err := flow.NewRegistry(double.With(doubled), double.With(doubled)); !errors.Is(err, duplicate) {
		t.Errorf("one task twice: %v", err)
	}
	code := func(flow.Context, int) (string, error) { return "", nil }
	if _, err := flow.NewRegistry(testFlow.With(code), testFlow.With(code)); !errors.Is(err, duplicate) {
		t.Errorf("one workflow twice: %v", err)
	}
	_, err := flow.NewRegistry(flow.Service[left.Service](concrete{}), flow.Service[right.Service](concrete{}))
	if !errors.Is(err, duplicate) {
		t.Errorf("two packages of one name: %v", err)
	}
	wants(t, fmt.Sprint(err), "names/left/billing.Service", "names/right/billing.Service", "flow.Name")
	if _, err := flow.NewRegistry(flow.Service[left.Service](concrete{}, flow.Name("left")), flow.Service[right.Service](concrete{}, flow.Name("right"))); err != nil {
		t.Errorf("told apart by flow.Name: %v", err)
	}
}

func TestRefusedDefinitionStopsTheActivation(t *testing.T) {
	t.Parallel()
	refused := flow.Method(concrete.Get)
	r := record(t)
	env := flowtest.New(r, testFlow.With(func(ctx flow.Context, n int) (string, error) { return refused.Call(flow.WithoutCancel(ctx), n) }))
	_, err := testFlow.Run(t.Context(), env, 1)
	wants(t, fmt.Sprint(err), events.CodeBadDefinition, "flow_test.concrete is not an interface")
}

func TestRegistryListsWhatItOffers(t *testing.T) {
	t.Parallel()
	r, err := flow.NewRegistry((&services{}).bindings()...)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(r.Tasks(), r.Workflows())
	want := "[{flow_test.ConsumptionService.Get flow_test.Period -> flow_test.Amount} {flow_test.EmailService.Send flow_test.Invoice ->}" +
		" {flow_test.InvoiceService.Create flow_test.Payment -> flow_test.Invoice} {flow_test.PaymentService.Request flow_test.Charge -> flow_test.Payment}] " +
		"[{billing.Monthly flow_test.Subscription -> int} {billing.Yearly flow_test.Subscription -> int}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

type shapes interface {
	Zero(ctx context.Context) (int, error)
	Two(ctx context.Context, a int, b string) (string, error)
	Three(ctx context.Context, a int, b string, c bool) (string, error)
	Act0(ctx context.Context) error
	Act2(ctx context.Context, a int, b string) error
	Act3(ctx context.Context, a int, b string, c bool) error
}

type shaped struct{ seen []string }

func (s *shaped) Zero(context.Context) (int, error) { return 7, nil }
func (s *shaped) Two(_ context.Context, a int, b string) (string, error) {
	return fmt.Sprint(a, b), nil
}

func (s *shaped) Three(_ context.Context, a int, b string, c bool) (string, error) {
	return fmt.Sprint(a, b, c), nil
}

func (s *shaped) Act0(context.Context) error {
	s.seen = append(s.seen, "0")
	return nil
}

func (s *shaped) Act2(_ context.Context, a int, b string) error {
	s.seen = append(s.seen, fmt.Sprint(a, b))
	return nil
}

func (s *shaped) Act3(_ context.Context, a int, b string, c bool) error {
	s.seen = append(s.seen, fmt.Sprint(a, b, c))
	return errors.New("no")
}

func TestShapes(t *testing.T) {
	t.Parallel()
	s := &shaped{}
	out, _, err := play(t, func(ctx flow.Context, _ int) (string, error) {
		zero, err := flow.Method0(shapes.Zero).Call(ctx)
		if err != nil {
			return "", err
		}
		two, err := flow.Method2(shapes.Two).Call(ctx, 1, "b")
		if err != nil {
			return "", err
		}
		three, err := flow.Method3(shapes.Three).Opt(flow.Timeout(1)).Call(ctx, 1, "b", true)
		if err != nil {
			return "", err
		}
		if err := flow.Action0(shapes.Act0).Do(ctx); err != nil {
			return "", err
		}
		if err := flow.Action2(shapes.Act2).Do(ctx, 2, "x"); err != nil {
			return "", err
		}
		err = flow.Action3(shapes.Act3, flow.Retry(flow.RetryPolicy{MaxAttempts: 1})).Do(ctx, 3, "y", false)
		if !errors.As(err, new(*flow.TaskError)) {
			return "", fmt.Errorf("Act3: %w", err)
		}
		return fmt.Sprint(zero, two, three), nil
	}, flow.Service[shapes](s))
	if out != "71b1btrue" || err != nil || fmt.Sprint(s.seen) != "[0 2x 3yfalse]" {
		t.Errorf("%q %v %v", out, err, s.seen)
	}
}
