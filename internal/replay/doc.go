// Package replay runs the code of one workflow against its history: it gives recorded outcomes to the code that asked for
// them, compares what the code does with what it did before, and collects what it does new as the progress to report.
//
// The code runs on fibers: goroutines of which exactly one runs at a time, each until it waits. So the order in which
// fibers run, and with it the number of every call, is a function of the history alone.
//
// A run since its start (or its last RunContinued) is a sequence of phases, one for each activation whose progress was
// accepted. In a phase the code is given the events since the phase before, is shown one time, and runs until every fiber
// waits; then, one by one, the outcomes of steps that ran in the worker are given to it, each followed by running on. Live
// and replayed phases differ in one thing only: where the outcomes of steps come from, the worker or the history.
//
// A [Run] belongs to one driver (a worker, a test), which calls it from one goroutine at a time. The package reads no clock
// and does no I/O.
package replay
