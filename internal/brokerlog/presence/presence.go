// Package presence decides which process of a cluster works on which partition, from what the processes announce on one log.
// It is pure: no I/O, clock or lock. Two processes may decide differently for a while, as they read at different speeds;
// that costs work and nothing else, because package fold lets one owner's records count.
//
// Nobody's silence is measured by a clock. A process counts the announcements that it appends in a steady rhythm, its beats, as
// they come back to it: who has said nothing between [Silence] of them is taken to be gone. So a process that was stopped, or a
// broker that was away, makes nobody look dead.
package presence

import (
	"cmp"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Process is one life of a process: a random number.
type Process uint64

// Limits, and how many own beats lie between events.
const (
	// Silence is after how many own beats another process that said nothing is gone.
	Silence = 4
	// Settled is after how many own beats a process knows whoever is there: they answer its first one.
	Settled = 3
	// forgotten is after how many of them it is forgotten.
	forgotten = 16
	// MaxMembers bounds the processes that are remembered; those beyond are not heard.
	MaxMembers = 1_000
	// MaxNameBytes bounds the name of a process, and MaxRoleBytes that of what it does.
	MaxNameBytes = 200
	MaxRoleBytes = 32
)

// Announcement is what a process says of itself.
type Announcement struct {
	Process Process
	// Role is what it does: only those of one role share partitions.
	Role string
	// Name is host and process id, for people.
	Name string
	// N counts its announcements from 1, and Beat those that came in the rhythm: the others tell at once what has changed.
	N, Beat uint64
	// At is what its wall clock showed.
	At events.Time
	// Aside is set when it is about to leave: nothing new is for it, and what it still works on is nobody else's yet.
	Aside bool
	// Leaving is set in its last one.
	Leaving bool
	// Works are the partitions that it works on, ascending.
	Works []events.Partition
}

// Member is another process, or this one, as it is known.
type Member struct {
	Process Process
	Role    string
	Name    string
	Works   []events.Partition
}

// View is what one process knows of the others. It shares partitions with those of its role.
type View struct {
	self    Process
	role    string
	own     uint64 // beats of its own that came back
	members map[Process]*member
}

type member struct {
	said  Announcement
	heard uint64 // beats that had come back when it spoke last
}

// NewView returns the view of a process that has heard nobody, not even itself.
func NewView(self Process, role string) *View {
	return &View{self: self, role: role, members: map[Process]*member{}}
}

// Read takes the next announcement of the log. Fresh says that its process has this one's role and was not known, so that it
// should be answered.
func (v *View) Read(a Announcement) (fresh bool) {
	if a.Process == v.self {
		v.own = max(v.own, a.Beat)
		v.forget()
	}
	m := v.members[a.Process]
	switch {
	case m != nil && a.N <= m.said.N:
		return false // repeated
	case m == nil && len(v.members) >= MaxMembers:
		return false
	}
	fresh = m == nil && a.Process != v.self && a.Role == v.role
	v.members[a.Process] = &member{said: a, heard: v.own}
	return fresh
}

// forget drops those who have been silent for long.
func (v *View) forget() {
	for id, m := range v.members { // sorted: each is looked at alone
		if v.own-m.heard >= forgotten {
			delete(v.members, id)
		}
	}
}

func (v *View) present(m *member) bool {
	return !m.said.Leaving && (m.said.Process == v.self || v.own-m.heard < Silence)
}

// peer reports whether a process is there and has the same role.
func (v *View) peer(m *member) bool { return m.said.Role == v.role && v.present(m) }

// Settled reports whether this process has heard whoever is there.
func (v *View) Settled() bool { return v.own >= Settled }

// Heard returns how many own announcements came back.
func (v *View) Heard() uint64 { return v.own }

// Present returns who of the same role is there, by rising process.
func (v *View) Present() []Member { return v.list(v.peer) }

// All returns who is there in any role, by rising process.
func (v *View) All() []Member { return v.list(v.present) }

func (v *View) list(wanted func(*member) bool) []Member {
	var all []Member
	for _, m := range v.members { // sorted: they are sorted below
		if wanted(m) {
			all = append(all, Member{m.said.Process, m.said.Role, m.said.Name, m.said.Works})
		}
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.Process, b.Process) })
	return all
}

// Owner returns who should work on a partition: of those present the one whose mix with the partition is highest, so that
// little moves when somebody comes or goes. Those who stand aside get nothing. False when nobody is there.
func (v *View) Owner(p events.Partition) (Process, bool) {
	var best Process
	var most uint64
	found := false
	for id, m := range v.members { // sorted: the greatest is found in any order
		if !v.peer(m) || m.said.Aside {
			continue
		}
		if score := mix(uint64(id), uint64(p)); !found || score > most || score == most && id < best {
			best, most, found = id, score, true
		}
	}
	return best, found
}

// Mine reports whether this process should work on a partition.
func (v *View) Mine(p events.Partition) bool {
	owner, ok := v.Owner(p)
	return ok && owner == v.self && v.Settled()
}

// Busy reports whether another process that is there says that it works on a partition.
func (v *View) Busy(p events.Partition) bool {
	for id, m := range v.members { // sorted: one is enough
		if id != v.self && v.peer(m) && slices.Contains(m.said.Works, p) {
			return true
		}
	}
	return false
}

// mix spreads a process and a partition over all numbers: the finalizer of MurmurHash3 over both.
func mix(process, partition uint64) uint64 {
	x := process ^ (partition+1)*0x9e3779b97f4a7c15
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
