// Command names prints durable names, to compare them over the ways to build a program.
package main

import (
	"context"
	"fmt"

	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	pay "github.com/continuo-dev/continuo/pkg/sdk/flow/testdata/names/pay.v2"
)

// Local is declared in package main.
type Local interface {
	Do(ctx context.Context, a int) (int, error)
}

// Defined is another type with the methods of pay.Service.
type Defined pay.Service

func main() {
	fmt.Println(flow.Method0(pay.Service.Zero).Name())
	fmt.Println(flow.Method(pay.Service.One).Name())
	fmt.Println(flow.Method2(pay.Service.Two).Name())
	fmt.Println(flow.Method3(pay.Service.Three).Name())
	fmt.Println(flow.Action0(pay.Service.Act0).Name())
	fmt.Println(flow.Action(pay.Service.Act1).Name())
	fmt.Println(flow.Action2(pay.Service.Act2).Name())
	fmt.Println(flow.Action3(pay.Service.Act3).Name())
	fmt.Println(flow.Method(pay.Alias.One).Name())
	fmt.Println(flow.Method(pay.Wide.One).Name())
	fmt.Println(flow.Method(pay.Wide.More).Name())
	fmt.Println(flow.Method(pay.Store[int, string].Get).Name())
	fmt.Println(flow.Method(pay.Store[string, pay.Service].Get).Name())
	fmt.Println(flow.Method(Local.Do).Name())
	fmt.Println(flow.Method(Defined.One).Name())
	fmt.Println(flow.Method(pay.Service.One, flow.Name("payments.One")).Name())
	r, err := flow.NewRegistry(flow.Service[pay.Service](nil))
	fmt.Println(r == nil, err)
	r, err = flow.NewRegistry(flow.Service[pay.Store[int, string]](store{}), flow.Service[Local](local{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range r.Tasks() {
		fmt.Println(o.Name, ":", o.Signature)
	}
}

type store struct{}

func (store) Get(context.Context, int) (string, error) { return "", nil }

type local struct{}

func (local) Do(context.Context, int) (int, error) { return 0, nil }
