package runner

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"sallyport/sessions/gate/program"
)

// Digest is the digest of a runner's policy: the programs that it may start.
type Digest [sha256.Size]byte

// maxPolicy is the size of the largest policy, in bytes.
const maxPolicy = 4 << 20

// DigestOf returns the SHA-256 of programs, in any order. It is equal for two
// processes of one program that have read the same configuration.
func DigestOf(programs []program.Program) Digest { return sha256.Sum256(encode(programs)) }

// encode returns the JSON form of programs in the order of their IDs.
func encode(programs []program.Program) []byte {
	sorted := slices.SortedFunc(slices.Values(programs), func(a, b program.Program) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Role, b.Role))
	})
	text, err := json.Marshal(sorted)
	if err != nil {
		panic(err) // no field can fail
	}
	return text
}

// readPolicy reads what encode has written.
func readPolicy(from io.Reader) (programs []program.Program, err error) {
	text, err := io.ReadAll(io.LimitReader(from, maxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("read the programs: expected at most %d bytes", maxPolicy)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&programs); err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	return programs, Validate(programs)
}

// Validate returns an error if a runner refuses the programs.
func Validate(programs []program.Program) error {
	if n := len(encode(programs)); n > maxPolicy {
		return fmt.Errorf("programs: expected at most %d bytes, got %d", maxPolicy, n)
	}
	seen := map[program.ID]bool{}
	for _, p := range programs {
		if err := validate(p); err != nil {
			return fmt.Errorf("service %s: %s: %w", p.Service, p.Role, err)
		}
		if seen[p.ID] {
			return fmt.Errorf("service %s: %s is there twice", p.Service, p.Role)
		}
		seen[p.ID] = true
	}
	return nil
}

func validate(p program.Program) error {
	if len(p.Service) > maxValue || p.Role != program.Server && p.Role != program.OnOpen && p.Role != program.OnClose {
		return fmt.Errorf("unknown role %q", p.Role)
	}
	if len(p.Args) == 0 || !path.IsAbs(p.Args[0]) {
		return fmt.Errorf("expected the absolute path of a program, got %q", p.Args)
	}
	if !path.IsAbs(p.Dir) {
		return fmt.Errorf("expected an absolute path as directory, got %q", p.Dir)
	}
	if p.StopAfter < 0 || p.TimeLimit < 0 {
		return errors.New("expected no negative time")
	}
	for _, text := range slices.Concat(p.Args, p.Env, []string{p.Dir}) {
		if strings.ContainsRune(text, 0) {
			return fmt.Errorf("expected no zero byte, got %q", text)
		}
	}
	for _, pair := range p.Env {
		name, _, ok := strings.Cut(pair, "=")
		if !ok || name == "" || strings.HasPrefix(name, reserved) || strings.HasPrefix(name, "LISTEN_") {
			return fmt.Errorf("environment: expected NAME=value, and a name that does not begin with %s or LISTEN_, got %q", reserved, name)
		}
	}
	return nil
}

// reserved is what the names of variables begin with that the runner sets.
const reserved = "SALLYPORT_"
