package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"sallyport/cmd/internal/hint"
)

// Report is what is in force in a process, as the process itself knows it: the kernel shows
// Landlock of no process.
type Report struct {
	Process    string `json:"process"` // "server", "holder" or "capturer"
	NoNewPrivs bool   `json:"no_new_privs"`
	Seccomp    bool   `json:"seccomp"`  // it has a filter of system calls
	Landlock   int    `json:"landlock"` // the version of the kernel's Landlock that restricts its files; 0: none does
	// Files are the files that stay; null: none, or they are not restricted.
	Files *Allowed `json:"files,omitempty"`
}

// resolveUnix is the version of Landlock that restricts connections to Unix sockets.
const resolveUnix = 9

// Admits returns an error if files are needed that are outside of what stays. Its hint is
// what to do.
func (r Report) Admits(f Files) error {
	if r.Landlock == 0 || r.Files == nil {
		return nil
	}
	if path := r.Files.outside(f, r.Landlock >= resolveUnix); path != "" {
		return hint.With(fmt.Errorf("%s is %s", path, r.outside()), r.restart())
	}
	return nil
}

// Explain adds to an error of rights that a file outside can be its reason.
func (r Report) Explain(err error) error {
	var of *fs.PathError
	if r.Landlock == 0 || !errors.As(err, &of) || !errors.Is(of, fs.ErrPermission) {
		return err
	}
	var before interface{ Hint() string }
	if !errors.As(err, &before) {
		return hint.With(fmt.Errorf("%w, or it is %s", err, r.outside()), r.restart())
	}
	return hint.With(fmt.Errorf("%w, or it is %s", err, r.outside()), before.Hint()+"; or "+r.restart())
}

// outside describes a file outside. A holder's error reaches a command without the hint.
func (r Report) outside() string {
	return "outside of the directories that the running " + r.Process + " may use until it restarts"
}

// restart returns what to do about a file outside, and why.
func (r Report) restart() string {
	return "restart the " + r.Process + ": at its start it takes away from itself all files but those in the directories of its configuration (Landlock), and cannot get others later"
}

// Text returns the report for another process, without the files.
func (r Report) Text() []byte {
	r.Files = nil
	text, _ := json.Marshal(r) // it has no value that JSON lacks
	return text
}

// ReadReport returns the report that Text has written for a process; false: it is none.
func ReadReport(text []byte, process string) (r Report, ok bool) {
	err := json.Unmarshal(text, &r)
	return r, err == nil && r.Process == process
}

// Restrictions returns what is in force, in words.
func (r Report) Restrictions() string {
	var has []string
	if r.NoNewPrivs {
		has = append(has, "no_new_privs")
	}
	if r.Seccomp {
		has = append(has, "seccomp")
	}
	if r.Landlock > 0 {
		has = append(has, fmt.Sprintf("Landlock %d", r.Landlock))
	}
	if len(has) == 0 {
		return "not restricted"
	}
	return strings.Join(has, ", ")
}
