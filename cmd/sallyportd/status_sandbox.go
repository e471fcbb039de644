package main

import (
	"strings"

	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/admin"
)

// sandboxFacts returns the row about what is in force in the processes; none if the server
// is of an earlier release.
func sandboxFacts(st admin.Status) [][]output.Cell {
	var texts []string
	lacks := false
	for _, r := range st.Sandbox {
		texts = append(texts, r.Process+": "+reportOf(r).Restrictions())
		lacks = lacks || !r.NoNewPrivs || !r.Seccomp || r.Landlock == 0
	}
	if len(texts) == 0 {
		return nil
	}
	return [][]output.Cell{fact("sandbox", strings.Join(texts, "; "), lacks)}
}
