package guides

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	synopsis = regexp.MustCompile("`([a-z][a-z-]*(?: [a-z][a-z-]*)*)(?: [^`]*)?`")
	flagName = regexp.MustCompile("`(--[a-z-]+|-[0-9a-z])\\b[^`]*`")
)

// synopses checks a guide's tables of commands and flags ("| command | …" and
// "| flag | …") against the help of the program: each command exists, and has
// the flags that its row names. The flags of the other table are those of one
// command.
func (r *run) synopses(program, flagsOf string) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(root, r.guide.path))
	if err != nil {
		r.t.Fatal(err)
	}
	table, rows := "", 0
	for line := range strings.Lines(string(text)) {
		switch {
		case !strings.HasPrefix(line, "|"):
			table = ""
			continue
		case strings.HasPrefix(line, "| command |"), strings.HasPrefix(line, "| flag |"):
			table = strings.Fields(line)[1]
			continue
		case table == "", strings.HasPrefix(line, "|---"):
			continue
		}
		rows++
		cells := strings.SplitN(line, "|", 3)
		commands := []string{flagsOf}
		if table == "command" {
			commands = nil
			for _, m := range synopsis.FindAllStringSubmatch(cells[1], -1) {
				commands = append(commands, strings.TrimPrefix(m[1], program+" "))
			}
		}
		help := ""
		for _, c := range commands {
			out := r.server.must(program + " " + c + " --help")
			if !strings.Contains(out, "\n  "+program+" "+c) {
				r.t.Errorf("%s: there is no command %q", r.guide.path, program+" "+c)
			}
			help += out
		}
		for _, m := range flagName.FindAllStringSubmatch(line, -1) {
			if !regexp.MustCompile(`[\s,]` + m[1] + `\b`).MatchString(help) {
				r.t.Errorf("%s: %q has no flag %s", r.guide.path, commands, m[1])
			}
		}
	}
	if rows == 0 {
		r.t.Errorf("%s has no table of commands", r.guide.path)
	}
}
