package segments

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// A claim is an empty object with a number, rows/<partition>/claim/<number>-<writer>. Manifests are written under a claim, and
// those of the highest one count, however far former owners' are. What makes it safe is the order on both sides:
//
//	who claims   puts its claim, then reads the newest manifest and goes on from it
//	who writes   puts its manifest, then sees that its claim is the highest: whoever claims later goes on from that manifest
//
// So what a writer deletes, or lets the log forget, after that is needed by nobody.

func claimPrefix(p events.Partition) string { return fmt.Sprintf("rows/%d/claim/", p) }

func claimName(p events.Partition, claim uint64, writer string) string {
	return fmt.Sprintf("%s%020d-%s", claimPrefix(p), claim, writer)
}

// claims returns the claims of a partition by name, and the highest one of others than a writer.
func (s *Store) claims(ctx context.Context, p events.Partition, writer string) (all map[string]uint64, highest uint64, err error) {
	names, err := s.options.Objects.List(ctx, claimPrefix(p))
	if err != nil {
		return nil, 0, fmt.Errorf("the claims of partition %d: %w", p, err)
	}
	all = make(map[string]uint64, len(names))
	for _, name := range names {
		digits, of, _ := strings.Cut(strings.TrimPrefix(name, claimPrefix(p)), "-")
		claim, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("object %s is not of this store: two programs must not share a store of objects", name)
		}
		if all[name] = claim; of != writer {
			highest = max(highest, claim)
		}
	}
	return all, highest, nil
}

// claim makes a writer the one whose manifests count, unless others claim at the same time: all of those find it out with their
// first manifest.
func (s *Store) claim(ctx context.Context, p events.Partition, writer string) (uint64, error) {
	_, highest, err := s.claims(ctx, p, writer)
	if err != nil {
		return 0, err
	}
	if err := s.options.Objects.Put(ctx, claimName(p, highest+1, writer), nil); err != nil {
		return 0, fmt.Errorf("claim of partition %d: %w", p, err)
	}
	return highest + 1, nil
}

// keepsClaim fails if somebody else has claimed the partition since a writer did. It returns the lower claims, which are not
// needed any more.
func (s *Store) keepsClaim(ctx context.Context, p events.Partition, claim uint64, writer string) (lower []string, err error) {
	all, highest, err := s.claims(ctx, p, writer)
	switch {
	case err != nil:
		return nil, err
	case highest >= claim && !mutant.On(mutant.ClaimNotLookedFor):
		return nil, fmt.Errorf("%w: another process has claimed partition %d", journal.ErrLost, p)
	}
	for name, of := range all { // sorted: what is due is sorted before it is deleted
		if of < claim {
			lower = append(lower, name)
		}
	}
	return lower, nil
}
