package guides

import (
	"fmt"
	"regexp"
	"strings"
)

// guide is a guide's blocks, in their order.
type guide struct {
	path   string // from the root of the repository
	blocks []block
}

// block is a fenced block.
type block struct {
	line     int
	language string
	mark     mark
	text     string
	commands []command // of a console
}

// mark is the comment before a block.
type mark struct {
	root   bool   // in the session of the host's root
	client bool   // on the client's host
	action string // "", "file", "append", "docker", "systemd", "packages" or "gate"
	of     string // PATH or NAME
}

// command is a command, and the output that the guide shows.
type command struct {
	line   int
	text   string
	output []string
	runsOn bool
}

// commands is how many commands a guide has.
func (g guide) commands() int {
	n := 0
	for _, b := range g.blocks {
		n += len(b.commands)
	}
	return n
}

var (
	marked      = regexp.MustCompile(`^<!-- run: (.+) -->$`)
	fence       = regexp.MustCompile("^```(.*)$")
	placeholder = regexp.MustCompile(`\.\.\.(?:[^/]|$)|…|<[a-zA-Z][^<>]*>`)
	prompt      = regexp.MustCompile(`^\s*[#%>] ?(?:\w+=\S+ )*(?:go|docker|sallyportd?|systemctl|\S*floodbench|bin/\S+|\.ci/\S+) `)
	goPattern   = regexp.MustCompile(`\./\.\.\.`)
	runsOn      = regexp.MustCompile(`\bsallyport(?:d (?:serve|watch|firewall hold|demo --stay)| (?:forward|stay))\b`)
)

// parse reads a guide.
func parse(path, text string) (guide, error) {
	g := guide{path: path}
	failed := func(line int, format string, args ...any) (guide, error) {
		return guide{}, fmt.Errorf("%s:%d: %s", path, line, fmt.Sprintf(format, args...))
	}
	lines := strings.Split(text, "\n")
	var m *mark
	for i := 0; i < len(lines); i++ {
		line := i + 1
		begin := fence.FindStringSubmatch(lines[i])
		switch words := marked.FindStringSubmatch(lines[i]); {
		case words != nil && m == nil:
			parsed, err := parseMark(words[1])
			if err != nil {
				return failed(line, "%v", err)
			}
			m = &parsed
			continue
		case m != nil && begin == nil:
			return failed(line, "a mark must stand on the line before a fence")
		case strings.HasPrefix(strings.TrimSpace(lines[i]), "<!-- run"):
			return failed(line, `got %q, want "<!-- run: … -->"`, lines[i])
		case begin == nil && strings.HasPrefix(strings.TrimSpace(lines[i]), "```"), begin == nil && strings.HasPrefix(lines[i], "~~~"):
			return failed(line, "a fence must be three backticks at the beginning of the line")
		case begin == nil:
			continue
		}
		b := block{line: line, language: begin[1]}
		if m != nil {
			b.mark, m = *m, nil
		}
		end := i + 1
		for ; end < len(lines) && lines[end] != "```"; end++ {
		}
		if end == len(lines) {
			return failed(line, "the block has no end")
		}
		content := lines[i+1 : end]
		b.text = strings.Join(content, "\n") + "\n"
		i = end
		if err := b.read(content); err != nil {
			return failed(line, "%v", err)
		}
		g.blocks = append(g.blocks, b)
	}
	return g, nil
}

func (b *block) read(lines []string) error {
	for _, l := range lines {
		if (b.language == "console" || b.language == "" || b.language == "text") && prompt.MatchString(l) {
			return fmt.Errorf(`%q is a command: the prompt must be "$ "`, l)
		}
	}
	written := b.mark.action == "file" || b.mark.action == "append"
	switch b.language {
	case "console":
		if written {
			return fmt.Errorf("a console cannot be written to a file")
		}
		if err := b.readConsole(lines); err != nil {
			return err
		}
		for _, c := range b.commands {
			if b.mark.action != "" && len(c.output) > 0 {
				return fmt.Errorf("%q shows output, which nothing compares: a script runs this block", c.text)
			}
		}
		return nil
	case "toml", "sshconfig":
		if !written && b.mark.action != "" {
			return fmt.Errorf("a block of %s can be marked only as a file", b.language)
		}
		if b.language == "sshconfig" && !written {
			return fmt.Errorf("a block of sshconfig must be marked as a file")
		}
	case "", "text":
		if b.mark.action != "" && !written {
			return fmt.Errorf("only a console can be run")
		}
		for _, l := range lines {
			if strings.HasPrefix(l, "$ ") {
				return fmt.Errorf("%q is a command: the language must be console", l)
			}
		}
	default:
		return fmt.Errorf("the language %q is not allowed; commands need console", b.language)
	}
	return nil
}

func (b *block) readConsole(lines []string) error {
	for i := 0; i < len(lines); i++ {
		text, found := strings.CutPrefix(lines[i], "$ ")
		if !found {
			if len(b.commands) == 0 {
				return fmt.Errorf(`a console must begin with "$ "`)
			}
			last := &b.commands[len(b.commands)-1]
			last.output = append(last.output, lines[i])
			continue
		}
		c := command{line: b.line + 1 + i, text: text, runsOn: runsOn.MatchString(text)}
		for strings.HasSuffix(c.text, `\`) && i+1 < len(lines) {
			i++
			c.text += "\n" + lines[i]
		}
		if placeholder.MatchString(goPattern.ReplaceAllString(c.text, "")) {
			return fmt.Errorf("%q has a placeholder", c.text)
		}
		b.commands = append(b.commands, c)
	}
	if len(b.commands) == 0 {
		return fmt.Errorf("a console without a command")
	}
	return nil
}

func parseMark(text string) (m mark, err error) {
	words := strings.Fields(text)
	if len(words) > 0 && words[0] == "root" {
		m.root = true
		words = words[1:]
	}
	if len(words) > 0 && (words[0] == "server" || words[0] == "client") {
		m.client = words[0] == "client"
		words = words[1:]
	}
	if len(words) == 0 {
		return m, nil
	}
	m.action, m.of = words[0], strings.Join(words[1:], " ")
	count := len(words) - 1
	switch m.action {
	case "file", "append", "docker", "systemd", "packages", "gate":
		if m.root && m.action != "file" && m.action != "append" {
			return m, fmt.Errorf("mark %q: a script runs as root without it", text)
		}
		if count != 1 {
			return m, fmt.Errorf("mark %q: got %d words after %s, want 1", text, count, m.action)
		}
	default:
		return m, fmt.Errorf("mark %q: unknown", text)
	}
	return m, nil
}
