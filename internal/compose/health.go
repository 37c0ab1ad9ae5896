package compose

import (
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/services/gateway"
	"github.com/continuo-dev/continuo/services/projector"
)

// MaxLag is how old the oldest record may be that the read model does not have, before readiness says that it lags.
const MaxLag = time.Minute

// ProjectorHealth tells how the projector that works is; nil means that none works here.
func ProjectorHealth(now *projector.Projector) gateway.Component {
	c := gateway.Component{Name: "projector", Ready: true, Detail: "stands by"}
	if now == nil {
		return c
	}
	stats := now.Stats()
	switch lag := stats.Lag(); {
	case stats.Trouble != "":
		c.Ready, c.Detail = false, "the read store cannot be used: "+stats.Trouble
	case lag > MaxLag:
		c.Ready, c.Detail = false, fmt.Sprintf("the read model is %s behind the log; %s is too much", lag.Round(time.Second), MaxLag)
	default:
		c.Detail = "works"
	}
	return c
}
