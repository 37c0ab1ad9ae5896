package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/config"
	"github.com/continuo-dev/continuo/internal/embedded"
)

func newStore(a *app) *cobra.Command {
	return group("store", "Look into the data directory of a stopped server", newStoreCheck(a), newStoreInfo(a))
}

// storeReport is what the verbs about a store print.
type storeReport struct {
	Dir        string    `json:"dir"`
	Whole      bool      `json:"whole"`
	Findings   []finding `json:"findings"`
	Unlisted   int       `json:"unlisted_findings,omitempty"`
	CleanStop  bool      `json:"clean_stop"`
	Format     int       `json:"format"`
	Cluster    string    `json:"cluster"`
	Created    string    `json:"created"`
	LogBytes   int64     `json:"log_bytes"`
	BlobCount  int64     `json:"blob_count"`
	BlobBytes  int64     `json:"blob_bytes"`
	ModelBytes int64     `json:"read_model_bytes"`

	Partitions []partition `json:"partitions"`
	Kinds      []rowKind   `json:"rows"`
}

type finding struct {
	Where string `json:"where"`
	What  string `json:"what"`
}

type partition struct {
	Partition uint16 `json:"partition"`
	First     uint64 `json:"first_seq"`
	Last      uint64 `json:"last_seq"`
	Records   int64  `json:"records"`
	Kept      int64  `json:"kept_records"`
	Runs      int64  `json:"runs"`
	Bytes     int64  `json:"bytes"`
}

type rowKind struct {
	Name  string `json:"name"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
}

func newStoreCheck(a *app) *cobra.Command {
	return newStoreVerb(a, &cobra.Command{
		Use:   "check --data DIR",
		Short: "Say whether the store of a stopped server is whole",
		Long: "Reads everything in the store of a stopped server: the checksum of every record, that the log has no gap and does not end before\n" +
			"what was acknowledged, that log and history agree, that every row of runs, answers and due work can be read, that every payload\n" +
			"is there, and every page of the read model. It changes nothing. With findings it exits with 1. A finding in the read model\n" +
			"alone needs nobody: the next start builds it anew.",
	}, embedded.Check, func(r *storeReport) {
		a.line(fmt.Sprintf("%s: %s in %s of log, %s", r.Dir, count(r.records(), "record"), size(r.LogBytes), r.stopped()))
		a.findings(r)
		if r.Whole {
			a.line("The store is whole.")
		}
	})
}

func newStoreInfo(a *app) *cobra.Command {
	return newStoreVerb(a, &cobra.Command{
		Use:   "info --data DIR",
		Short: "Say what uses the space in the store of a stopped server",
		Long: "Says what uses the space in the store of a stopped server. Sizes of rows are those of keys and values before compression, so\n" +
			"they differ from the size of the files. It changes nothing.",
	}, pebble.Info, a.printStoreInfo)
}

// newStoreVerb makes a verb that reads a stopped store and fails when it finds something wrong.
func newStoreVerb(a *app, cmd *cobra.Command, inspect func(dir string) (pebble.Report, error), table func(*storeReport)) *cobra.Command {
	var dir string
	cmd.Args = arguments()
	cmd.RunE = func(*cobra.Command, []string) error {
		if dir == "" {
			return usage("which store? name its directory with --data DIR")
		}
		found, err := inspect(dir)
		if err != nil {
			return err
		}
		report, err := newStoreReport(&found)
		if err != nil {
			return err
		}
		if a.output == "json" {
			err = a.json(report)
		} else {
			table(report)
		}
		if err == nil && !report.Whole {
			err = &verdictError{exitFailed, fmt.Sprintf("Error: the store in %s is not whole: %s", dir, count(int64(found.ProblemCount), "finding"))}
		}
		return err
	}
	cmd.Flags().StringVar(&dir, "data", fromEnv(config.EnvPrefix+"DATA", ""), "directory of the store (CONTINUO_DATA)")
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

func newStoreReport(found *pebble.Report) (*storeReport, error) {
	r := &storeReport{
		Dir: found.Dir, Whole: found.Whole(), Unlisted: found.ProblemCount - len(found.Problems), CleanStop: found.CleanStop,
		Format: found.Format.Version, Cluster: found.Format.Cluster, Created: found.Format.Created.UTC().Format("2006-01-02T15:04:05Z"),
		LogBytes: found.DiskBytes, Findings: []finding{}, Partitions: []partition{}, Kinds: []rowKind{},
	}
	for _, p := range found.Problems {
		r.Findings = append(r.Findings, finding(p))
	}
	for _, p := range found.Partitions {
		r.Partitions = append(r.Partitions, partition{
			Partition: uint16(p.Partition), First: uint64(p.First), Last: uint64(p.Last), Records: p.Records, Kept: p.Kept, Runs: p.Runs, Bytes: p.Bytes,
		})
	}
	for _, f := range found.Families {
		r.Kinds = append(r.Kinds, rowKind(f))
	}
	var err error
	if r.BlobCount, r.BlobBytes, err = filesBelow(filepath.Join(found.Dir, "blobs")); err != nil {
		return nil, err
	}
	models, err := filepath.Glob(filepath.Join(escapeGlob(found.Dir), "readmodel.db*"))
	if err != nil {
		return nil, err
	}
	for _, file := range models {
		_, bytes, err := filesBelow(file)
		if err != nil {
			return nil, err
		}
		r.ModelBytes += bytes
	}
	return r, nil
}

// escapeGlob makes a path match itself only.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// filesBelow counts files and their bytes; none if there is nothing at the path.
func filesBelow(path string) (number, bytes int64, err error) {
	err = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		number++
		bytes += info.Size()
		return nil
	})
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return number, bytes, err
}

func (r *storeReport) records() (n int64) {
	for _, p := range r.Partitions {
		n += p.Records + p.Kept
	}
	return n
}

func (r *storeReport) stopped() string {
	if r.CleanStop {
		return "stopped in order"
	}
	return "not stopped in order: the next start goes on where the log ends"
}

// findings prints what is wrong, one on a line.
func (a *app) findings(r *storeReport) {
	for _, f := range r.Findings {
		a.line(oneLine(f.Where + ": " + f.What))
	}
	if r.Unlisted > 0 {
		a.line("and " + strconv.Itoa(r.Unlisted) + " more")
	}
}

func (a *app) printStoreInfo(r *storeReport) {
	a.rows([]string{"directory", r.Dir}, [][]string{
		{"format", strconv.Itoa(r.Format)},
		{"cluster", r.Cluster},
		{"created", r.Created},
		{"last stop", r.stopped()},
		{"log", size(r.LogBytes)},
		{"blobs", size(r.BlobBytes) + " in " + count(r.BlobCount, "file")},
		{"read model", size(r.ModelBytes)},
	})
	var kinds, partitions [][]string
	for _, k := range r.Kinds {
		kinds = append(kinds, []string{k.Name, strconv.FormatInt(k.Rows, 10), size(k.Bytes)})
	}
	for _, p := range r.Partitions {
		partitions = append(partitions, []string{
			strconv.Itoa(int(p.Partition)), strconv.FormatUint(p.First, 10), strconv.FormatUint(p.Last, 10),
			strconv.FormatInt(p.Records, 10), strconv.FormatInt(p.Kept, 10), strconv.FormatInt(p.Runs, 10), size(p.Bytes),
		})
	}
	a.line()
	a.rows([]string{"ROWS OF", "NUMBER", "SIZE"}, kinds)
	a.line()
	a.rows([]string{"PARTITION", "FIRST", "LAST", "RECORDS", "KEPT FOR HISTORY", "RUNS", "SIZE"}, partitions)
	a.findings(r)
}

// count returns a number of things.
func count(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.FormatInt(n, 10) + " " + thing
}

// size returns a number of bytes for people.
func size(bytes int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if bytes < 1<<10 {
		return strconv.FormatInt(bytes, 10) + " B"
	}
	value, unit := float64(bytes)/(1<<10), 0
	for ; value >= 1<<10 && unit < len(units)-1; unit++ {
		value /= 1 << 10
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
