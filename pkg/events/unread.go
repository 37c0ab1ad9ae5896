package events

// UnreadSignals returns, as records of one event each, the signals among records that c had not read: what a replay that
// begins at c takes from before it. The records are those from c.OldestUnread up to c, in order.
func UnreadSignals(c RunContinued, records []*Record) []*Record {
	read := make(map[SignalName]uint64, len(c.Reads))
	for _, r := range c.Reads {
		read[r.Name] = r.Count
	}
	var unread []*Record
	for _, r := range records {
		for i, e := range r.Events {
			signal, ok := e.(SignalReceived)
			if !ok || signal.Index <= read[signal.Name] {
				continue
			}
			one := &Record{Header: r.Header, Events: []Event{signal}}
			one.First = r.First + EventNumber(i)
			unread = append(unread, one)
		}
	}
	return unread
}
