// Package fencing simulates the protocol of [fold] over a broker that is merely ordered, with one random source, so that a seed
// is a schedule that can be had again.
//
// In the storm appends are repeated, come late, fail while those behind them arrive, and their results get lost; owners are
// started without telling the old one, sleep, die and open before they have read everything; forwarders overlap and die;
// readers lose their newest checkpoint; logs are trimmed up to what checkpoints allow. In the calm that follows one owner and
// one forwarder for each partition finish the work. Then the logs are judged, and copies of them are damaged: each planted
// loss must halt its reader.
package fencing
