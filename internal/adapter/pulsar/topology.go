package pulsar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"golang.org/x/sync/errgroup"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/pkg/events"
)

const (
	// baseSubscription keeps everything of a partition until there are holds; it follows the slowest of them and never
	// consumes. What it and the holds have passed the broker may forget.
	baseSubscription = "continuo"
	// holdPrefix begins the names of the subscriptions that are holds.
	holdPrefix = "continuo-hold-"
	// beginning is the property of the message that begins each partition. A reader from the beginning that does not meet it
	// first knows that something is gone.
	beginning = "continuo-beginning"
	// partitionsProperty records in a topic how many partitions it was made with.
	partitionsProperty = "continuo-partitions"
	// topologyParallel is how many questions are asked of the web service at once.
	topologyParallel = 16
)

// Finding is something about the broker's side that is not as it has to be, or has to be known.
type Finding struct {
	// Fatal: messages would be lost, or nothing would work. Otherwise it is worth knowing.
	Fatal bool
	// About is what it is about: a tenant, a namespace and its policy, a topic, a right.
	About string
	// What is found, and what was expected.
	What string
	// Fix is the way out.
	Fix string
}

// String returns the finding as one sentence or two.
func (f Finding) String() string { return f.About + ": " + f.What + ". " + f.Fix }

// policies are those of a namespace that decide whether a log can live in it.
type policies struct {
	Retention              *retention             `json:"retention_policies,omitempty"`
	TTL                    *int                   `json:"message_ttl_in_seconds,omitempty"`
	Deduplication          *bool                  `json:"deduplicationEnabled,omitempty"`
	SubscriptionExpiration *int                   `json:"subscription_expiration_time_minutes,omitempty"`
	InactiveTopics         *inactiveTopics        `json:"inactive_topic_policies,omitempty"`
	AutoTopics             *autoTopics            `json:"autoTopicCreationOverride,omitempty"`
	BacklogQuotas          map[string]backlogRule `json:"backlog_quota_map,omitempty"`
	Clusters               []string               `json:"replication_clusters,omitempty"`
	EncryptionRequired     bool                   `json:"encryption_required,omitempty"`
}

type retention struct {
	Minutes int `json:"retentionTimeInMinutes"`
	MB      int `json:"retentionSizeInMB"`
}

type inactiveTopics struct {
	Mode    string `json:"inactiveTopicDeleteMode"`
	Seconds int    `json:"maxInactiveDurationSeconds"`
	Delete  bool   `json:"deleteWhileInactive"`
}

type autoTopics struct {
	Allow bool `json:"allowAutoTopicCreation"`
}

type backlogRule struct {
	Policy string `json:"policy"`
}

// wanted are the policies that a namespace is created with. They are all said, because the broker's own defaults may differ.
func wanted() policies {
	zero, no := 0, false
	return policies{
		Retention: &retention{}, TTL: &zero, Deduplication: &no, SubscriptionExpiration: &zero, AutoTopics: &autoTopics{},
		InactiveTopics: &inactiveTopics{Mode: "delete_when_no_subscriptions", Seconds: 86_400},
	}
}

// judge compares a namespace that exists with what a log needs.
func (p *policies) judge(namespace string) []Finding {
	var found []Finding
	add := func(fatal bool, policy, what, fix string) {
		found = append(found, Finding{Fatal: fatal, About: "policy " + policy + " of namespace " + namespace, What: what, Fix: fix})
	}
	set := func(command string) string {
		return "Set it with: pulsar-admin namespaces " + command + " " + namespace + ", or let Continuo create a namespace of its own"
	}
	if p.TTL != nil && *p.TTL != 0 {
		add(true, "message-ttl", fmt.Sprintf("is %d s: the broker forgets messages that are still held", *p.TTL), set("set-message-ttl --messageTTL 0"))
	}
	if p.SubscriptionExpiration != nil && *p.SubscriptionExpiration != 0 {
		add(true, "subscription-expiration-time", fmt.Sprintf("is %d minutes: the broker drops the subscriptions that hold messages, because nobody consumes from them", *p.SubscriptionExpiration),
			set("set-subscription-expiration-time --time 0"))
	}
	if p.Deduplication != nil && *p.Deduplication {
		add(true, "deduplication", "is on: with the batches of this client the broker drops messages that are none", set("set-deduplication --disable"))
	}
	for kind, quota := range p.BacklogQuotas {
		if quota.Policy == "consumer_backlog_eviction" {
			add(true, "backlog-quota "+kind, "evicts the backlog: the broker forgets messages that are still held", set("set-backlog-quota --policy producer_exception"))
		}
	}
	if p.InactiveTopics != nil && p.InactiveTopics.Delete && p.InactiveTopics.Mode != "delete_when_no_subscriptions" {
		add(true, "inactive-topic-policies", "is "+p.InactiveTopics.Mode+": the broker deletes topics whose subscriptions have caught up", set("set-inactive-topic-policies --disable-delete-while-inactive"))
	}
	if len(p.Clusters) > 1 {
		add(true, "replication-clusters", fmt.Sprintf("are %s: two clusters that write one log have two orders of it", strings.Join(p.Clusters, ", ")), set("set-clusters --clusters ONE"))
	}
	if p.EncryptionRequired {
		add(true, "encryption-required", "is on, and messages are not encrypted by this client", set("set-encryption-required --disable"))
	}
	if p.Retention != nil && (p.Retention.Minutes != 0 && p.Retention.MB != 0) {
		add(false, "retention", fmt.Sprintf("keeps messages that nobody holds for %d minutes and %d MB (-1: for ever); they cost space", p.Retention.Minutes, p.Retention.MB), set("set-retention --time 0 --size 0"))
	}
	if p.TTL == nil {
		add(false, "message-ttl", "is not set, so the broker's ttlDurationDefaultInSeconds holds, which must be 0", set("set-message-ttl --messageTTL 0"))
	}
	if p.Deduplication == nil {
		add(false, "deduplication", "is not set, so the broker's brokerDeduplicationEnabled holds, which must be false", set("set-deduplication --disable"))
	}
	return found
}

// missing turns an answer that something is not allowed into a finding that names the right.
func missing(err error, about, right, grant string) Finding {
	return Finding{Fatal: true, About: about, What: fmt.Sprintf("the right is missing to %s (%v)", right, err), Fix: grant}
}

// topology is what is looked at, and made when create is set.
type topology struct {
	log    *Log
	create bool
	found  []Finding
}

func (t *topology) add(f ...Finding) { t.found = append(t.found, f...) }

func (t *topology) fatal() bool {
	for _, f := range t.found {
		if f.Fatal {
			return true
		}
	}
	return false
}

// check looks at everything in order and stops at what makes the rest meaningless. The error is of the network.
func (t *topology) check(ctx context.Context) error {
	t.found = nil
	for _, step := range []func(context.Context) error{t.namespace, t.topics, t.connection, t.partitions} {
		if err := step(ctx); err != nil || t.fatal() {
			return err
		}
	}
	return nil
}

func (t *topology) namespace(ctx context.Context) error {
	o, a := t.log.options, t.log.admin
	name := o.Tenant + "/" + o.Namespace
	var p policies
	_, err := a.do(ctx, http.MethodGet, "namespaces/"+name, nil, &p)
	switch {
	case err == nil:
		t.add(p.judge(name)...)
		return nil
	case stranger(err):
		return fmt.Errorf("%w: %w", brokerlog.ErrForbidden, err)
	case forbidden(err):
		// Who may only produce and consume must not look at policies. What they are is for whoever made the namespace.
		t.add(Finding{About: "namespace " + name, What: fmt.Sprintf("its policies cannot be looked at with these rights (%v)", err), Fix: "Let an administrator run: continuo pulsar check"})
		return nil
	case !is(err, http.StatusNotFound):
		return err
	case !t.create:
		t.add(Finding{Fatal: true, About: "namespace " + name, What: "it does not exist", Fix: "Create everything with: continuo pulsar setup"})
		return nil
	}
	if ok, err := t.tenant(ctx); err != nil || !ok {
		return err
	}
	_, err = a.do(ctx, http.MethodPut, "namespaces/"+name, wanted(), nil)
	switch {
	case forbidden(err):
		t.add(missing(err, "namespace "+name, "create it", "Make this identity an administrator of tenant "+o.Tenant+", or let one run: continuo pulsar setup"))
		return nil
	case is(err, http.StatusNotFound): // what a tenant that is not there says to who may not look at it
		t.add(missing(err, "tenant "+o.Tenant, "create it", createTenant(o.Tenant)))
		return nil
	case is(err, http.StatusConflict): // somebody else was quicker
		return nil
	default:
		return err
	}
}

func (t *topology) tenant(ctx context.Context) (bool, error) {
	o, a := t.log.options, t.log.admin
	_, err := a.do(ctx, http.MethodGet, "tenants/"+o.Tenant, nil, nil)
	if err == nil || forbidden(err) { // one that may not look at the tenant may still be its administrator
		return true, nil
	}
	if !is(err, http.StatusNotFound) {
		return false, err
	}
	var clusters []string
	if _, err = a.do(ctx, http.MethodGet, "clusters", nil, &clusters); err == nil {
		_, err = a.do(ctx, http.MethodPut, "tenants/"+o.Tenant, map[string][]string{"adminRoles": {}, "allowedClusters": clusters}, nil)
	}
	if forbidden(err) {
		t.add(missing(err, "tenant "+o.Tenant, "create it", createTenant(o.Tenant)))
		return false, nil
	}
	return err == nil || is(err, http.StatusConflict), unless(err, http.StatusConflict)
}

func createTenant(tenant string) string {
	return "Let a superuser run: pulsar-admin tenants create " + tenant + ", and make this identity one of its administrators, or run: continuo pulsar setup"
}

// unless drops an error that is an answer with a status.
func unless(err error, status int) error {
	if is(err, status) {
		return nil
	}
	return err
}

// topics looks that all topics have the same partitions, those that they were made with.
func (t *topology) topics(ctx context.Context) error {
	l := t.log
	for _, topic := range brokerlog.Topics() {
		about := fmt.Sprintf("topic persistent://%s/%s/%s", l.options.Tenant, l.options.Namespace, topic)
		path := fmt.Sprintf("persistent/%s/%s/%s/partitions", l.options.Tenant, l.options.Namespace, topic)
		var made partitionedTopic
		_, err := l.admin.do(ctx, http.MethodGet, path, nil, &made)
		if (is(err, http.StatusNotFound) || err == nil && made.Partitions == 0) && t.create {
			n := l.partitionsOr(DefaultPartitions)
			made = partitionedTopic{n, map[string]string{partitionsProperty: strconv.Itoa(n)}}
			if _, err = l.admin.do(ctx, http.MethodPut, path, made, nil); is(err, http.StatusConflict) {
				made, err = l.beingMade(ctx, path)
			}
		}
		switch {
		case forbidden(err):
			t.add(missing(err, about, "create it or look at it", "Grant produce and consume on the namespace with: pulsar-admin namespaces grant-permission --actions produce,consume --role ROLE "+
				l.options.Tenant+"/"+l.options.Namespace+", and let an administrator run: continuo pulsar setup"))
			return nil
		case is(err, http.StatusNotFound), err == nil && made.Partitions == 0:
			t.add(Finding{Fatal: true, About: about, What: "it does not exist", Fix: "Create everything with: continuo pulsar setup"})
			return nil
		case err != nil:
			return err
		}
		if recorded := made.Properties[partitionsProperty]; recorded != "" && recorded != strconv.Itoa(made.Partitions) {
			t.add(Finding{
				Fatal: true, About: about, What: fmt.Sprintf("it has %d partitions and was made with %s; somebody changed that, and now keys are in other partitions than before", made.Partitions, recorded),
				Fix: "Partitions cannot be changed. Use another namespace, or restore this one",
			})
			return nil
		}
		if want := l.partitionsOr(made.Partitions); want != made.Partitions {
			t.add(Finding{
				Fatal: true, About: about, What: fmt.Sprintf("it has %d partitions, and %d are asked for", made.Partitions, want),
				Fix: fmt.Sprintf("Ask for %d, or for no number; partitions cannot be changed. Another number needs another namespace", made.Partitions),
			})
			return nil
		}
		l.options.Partitions = made.Partitions
	}
	return nil
}

// beingMade reads a topic that another process is making: the broker refuses a second one a moment before it shows the first.
func (l *Log) beingMade(ctx context.Context, path string) (made partitionedTopic, err error) {
	const tries, pause = 50, 100 * time.Millisecond
	for range tries {
		made = partitionedTopic{}
		if _, err = l.admin.do(ctx, http.MethodGet, path, nil, &made); err == nil && made.Partitions > 0 || err != nil && !is(err, http.StatusNotFound) {
			return made, err
		}
		select {
		case <-l.options.Clock.After(pause):
		case <-ctx.Done():
			return made, ctx.Err()
		}
	}
	return made, err
}

func (l *Log) partitionsOr(other int) int {
	if l.options.Partitions > 0 {
		return l.options.Partitions
	}
	return other
}

// connection looks whether the broker itself, not its web service, is where it is said to be and lets this identity in.
func (t *topology) connection(ctx context.Context) error {
	name := strings.TrimSuffix(t.log.topicName(brokerlog.Events, 0), "-partition-0")
	known, err := waitFor(ctx, t.log, func() ([]string, error) { return t.log.client.TopicPartitions(name) }, func([]string) {})
	switch {
	case err != nil:
		return fmt.Errorf("connection to the broker: %w", translate(err))
	case len(known) != t.log.options.Partitions:
		t.add(Finding{
			Fatal: true, About: "broker URL " + t.log.options.URL, What: fmt.Sprintf("there %s has %d partitions, and %d at the admin URL %s", name, len(known), t.log.options.Partitions, t.log.options.AdminURL),
			Fix: "Are they two clusters? Both URLs have to lead to the same one",
		})
	}
	return nil
}

// partitions looks that each partition has its base subscription and its beginning, and makes what is not there yet.
func (t *topology) partitions(ctx context.Context) error {
	found := make(chan Finding, len(brokerlog.Topics())*t.log.options.Partitions)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(topologyParallel)
	for _, topic := range brokerlog.Topics() {
		for p := range events.Partition(t.log.options.Partitions) {
			group.Go(func() error {
				f, err := t.partition(ctx, topic, p)
				if f != nil {
					found <- *f
				}
				return err
			})
		}
	}
	err := group.Wait()
	close(found)
	for f := range found { // one of a kind is enough
		if t.add(f); f.Fatal {
			break
		}
	}
	return err
}

func (t *topology) partition(ctx context.Context, topic brokerlog.Topic, p events.Partition) (*Finding, error) {
	l := t.log
	about := "topic " + l.topicName(topic, p)
	grant := "Grant produce and consume on the namespace with: pulsar-admin namespaces grant-permission --actions produce,consume --role ROLE " + l.options.Tenant + "/" + l.options.Namespace
	state, err := l.internals(ctx, topic, p)
	if err == nil {
		if _, ok := state.Cursors[baseSubscription]; !ok {
			if !t.create || state.Entries > 0 {
				what := "subscription " + baseSubscription + ", which keeps messages, is not there"
				if state.Entries > 0 {
					what += " although the log has messages: some may be gone"
				}
				return &Finding{
					Fatal: true, About: about, What: what,
					Fix: "Was it deleted? If the log is whole, create it with: pulsar-admin topics create-subscription -s " + baseSubscription + " -m earliest " + l.topicName(topic, p),
				}, nil
			}
			first := messageID{Ledger: -1, Entry: -1, Partition: -1}
			_, err = l.admin.do(ctx, http.MethodPut, subscriptionPath(l.partitionPath(topic, p), baseSubscription), first, nil)
			err = unless(err, http.StatusConflict)
		}
	}
	if forbidden(err) {
		f := missing(err, about, "consume from it", grant)
		return &f, nil
	}
	if err != nil || state.Entries > 0 {
		return nil, err
	}
	if !t.create {
		return &Finding{Fatal: true, About: about, What: "it has no beginning: it was not set up to its end", Fix: "Finish with: continuo pulsar setup"}, nil
	}
	err = l.begin(ctx, topic, p)
	if errors.Is(err, brokerlog.ErrForbidden) {
		f := missing(err, about, "produce to it", grant)
		return &f, nil
	}
	return nil, err
}

// begin writes the beginning of a partition. Two that do so at once are harmless: readers pass over all of them.
func (l *Log) begin(ctx context.Context, topic brokerlog.Topic, p events.Partition) error {
	producer, err := l.producer(ctx, topic, p, false) // the web service shows no properties of batched messages
	if err != nil {
		return err
	}
	defer producer.Close()
	if _, err := producer.Send(ctx, &pulsar.ProducerMessage{
		Payload: []byte("A log of Continuo begins here."), Properties: map[string]string{beginning: strconv.Itoa(l.options.Partitions)},
	}); err != nil {
		return fmt.Errorf("beginning of %s: %w", l.topicName(topic, p), translate(err))
	}
	return nil
}
