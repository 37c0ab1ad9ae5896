package door

import (
	"crypto/sha256"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
)

// refusalsLoggedEvery is how often refusals are logged, at most: whoever knocks must not fill the log.
const refusalsLoggedEvery = 10 * time.Second

// guard lets in who has a token.
type guard struct {
	tokens *current[Tokens]
	clock  clock.Clock
	log    *slog.Logger

	mu       sync.Mutex
	held     map[*hold]struct{} // bounded by the streams that a gateway has
	counts   Refusals
	unlogged int
	logged   time.Duration // when a refusal was logged last
}

// hold is something that goes on for as long as its token is good.
type hold struct {
	pass Pass
	end  func()
}

// Refusals counts those who were not let in, and streams that were ended because their token was revoked.
type Refusals struct {
	Missing, Wrong, Revoked uint64
}

// Pass is what somebody was let in with. The zero value is that of a process without tokens.
type Pass struct {
	// Name is that of the token.
	Name string
	hash [sha256.Size]byte
}

func newGuard(tokens *current[Tokens], o Options) *guard {
	return &guard{tokens: tokens, clock: o.Clock, log: o.Log, held: map[*hold]struct{}{}, logged: o.Clock.Boot() - refusalsLoggedEvery}
}

// NeedsToken reports whether requests need a token.
func (d *Door) NeedsToken() bool { return d != nil && d.guard != nil }

// Refusals returns the counts since the start.
func (d *Door) Refusals() Refusals {
	if !d.NeedsToken() {
		return Refusals{}
	}
	d.guard.mu.Lock()
	defer d.guard.mu.Unlock()
	return d.guard.counts
}

// Admit judges the Authorization of a request; peer says for the log where it comes from. The error is an *events.Error with the
// code unauthenticated.
func (d *Door) Admit(authorization, peer string) (Pass, error) {
	if !d.NeedsToken() {
		return Pass{}, nil
	}
	g := d.guard
	tokens := g.refresh()
	if authorization == "" {
		return Pass{}, g.refuse(&g.counts.Missing, peer, "no token came with the request: send the header 'Authorization: Bearer TOKEN' "+
			"(command line: --token-file or CONTINUO_TOKEN_FILE, Go: client.Options.TokenFile)")
	}
	scheme, secret, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Pass{}, g.refuse(&g.counts.Wrong, peer, "the header Authorization does not begin with Bearer: send 'Authorization: Bearer TOKEN'")
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	name, found := tokens.find(hash)
	if !found {
		return Pass{}, g.refuse(&g.counts.Wrong, peer, "the server does not know the token that came with the request: use one that is in its tokens file now")
	}
	return Pass{Name: name, hash: hash}, nil
}

// Hold ends something when its pass is no longer good: end is called at most once, from another goroutine, and must not block.
// release ends the watch.
func (d *Door) Hold(pass Pass, end func()) (release func()) {
	if !d.NeedsToken() {
		return func() {}
	}
	g, h := d.guard, &hold{pass: pass, end: end}
	g.mu.Lock()
	g.held[h] = struct{}{}
	g.mu.Unlock()
	if _, good := g.refresh().find(pass.hash); !good { // it was revoked since it was admitted
		g.put(h)
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.held, h)
	}
}

// refresh returns the tokens as they are now, and ends what is held by others.
func (g *guard) refresh() Tokens {
	tokens, changed := g.tokens.get()
	if changed {
		g.sweep(tokens)
	}
	return tokens
}

func (g *guard) sweep(tokens Tokens) {
	good := make(map[[sha256.Size]byte]struct{}, len(tokens.all))
	for _, t := range tokens.all {
		good[t.hash] = struct{}{}
	}
	g.mu.Lock()
	var out []*hold
	for h := range g.held {
		if _, ok := good[h.pass.hash]; !ok {
			out = append(out, h)
		}
	}
	g.mu.Unlock()
	for _, h := range out {
		g.put(h)
	}
}

// put puts somebody out whose token is no longer good.
func (g *guard) put(h *hold) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, here := g.held[h]; !here {
		return // it has ended by itself
	}
	delete(g.held, h)
	g.counts.Revoked++
	g.log.Info("a stream is ended: its token was revoked", slog.String("token_name", h.pass.Name))
	h.end()
}

// refuse counts a refusal in one of the counts and returns it.
func (g *guard) refuse(count *uint64, peer, message string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	*count++
	g.unlogged++
	if now := g.clock.Boot(); now-g.logged >= refusalsLoggedEvery {
		g.log.Warn("requests were refused: unauthenticated", slog.Int("requests", g.unlogged), slog.String("last_from", peer), slog.String("last_reason", message))
		g.logged, g.unlogged = now, 0
	}
	return &events.Error{Code: events.Unauthenticated, Message: message}
}

// Revoked is what somebody is told whose token is no longer good.
func Revoked() error {
	return &events.Error{Code: events.Unauthenticated, Message: "the token was revoked: use one that is in the server's tokens file now"}
}
