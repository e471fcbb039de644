package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/durations"
	"sallyport/sessions/gate/program"
)

// rawPrograms has the keys of the commands of a service, of any type, and those that
// all its programs share.
type rawPrograms struct {
	OnOpen       []string `toml:"on_open" reload:"restart" expect:"the absolute path of a program and its arguments, such as [\"/usr/local/bin/allow\", \"add\"]"`
	OnClose      any      `toml:"on_close" reload:"restart" expect:"the absolute path of a program and its arguments, such as [\"/usr/local/bin/allow\", \"del\"]; or \"keep\" or \"cut\", as for connections"`
	CommandUser  string   `toml:"command_user" reload:"restart" expect:"the name or number of the user that on_open and on_close run as, neither root nor the server's user"`
	CommandLimit string   `toml:"command_limit" default:"10s" range:"100ms..10m" reload:"restart" expect:"a duration from \"100ms\" to \"10m\""`

	StopAfter    string   `toml:"stop_after" default:"5s" range:"100ms..5m" reload:"restart" expect:"a duration from \"100ms\" to \"5m\""`
	ProgramDir   string   `toml:"program_dir" default:"/" reload:"restart" expect:"the absolute path of a directory"`
	ProgramEnv   []string `toml:"program_env" reload:"restart" expect:"a list of variables in quotes, such as [\"LANG=C.UTF-8\"]"`
	MaxMemory    int      `toml:"max_memory" default:"0" range:"0|1048576.." reload:"restart" expect:"a number of bytes, 0 (no limit) or at least 1048576"`
	MaxFiles     int      `toml:"max_files" default:"1024" range:"0|16..1048576" reload:"restart" expect:"a whole number, 0 (the server's limit) or 16 to 1048576"`
	MaxProcesses int      `toml:"max_processes" default:"0" range:"0..4194304" reload:"restart" expect:"a whole number from 0 (no limit) to 4194304"`
}

// Bounds of what a program gets from the configuration.
const (
	maxArguments = 128
	maxVariables = 64
	maxText      = 4096 // bytes of an argument or a variable
)

// connections moves the text of on_close to the key "connections".
func (r *rawService) connections(f *tomlfile.File, at string) error {
	text, ok := r.OnClose.(string)
	switch {
	case !ok:
		return nil
	case text != "keep" && text != "cut":
		return f.Errorf(at+"on_close", "got %q", text)
	case r.Listen == nil:
		return f.Errorf(at+"on_close", "got %q for a service without connections", text)
	case f.Has(at + "connections"):
		return f.Errorf(at+"connections", "got on_close = %q as well; only one of the two is allowed", text)
	}
	r.Connections, r.OnClose = text, nil
	return nil
}

// commands reads the commands of a service of any type.
func (r *rawService) commands(f *tomlfile.File, at string, s *Service) error {
	onClose, err := texts(r.OnClose)
	if err != nil {
		return f.Errorf(at+"on_close", "%v", err)
	}
	some := false
	for _, c := range []struct {
		role program.Role
		args []string
	}{{program.OnOpen, r.OnOpen}, {program.OnClose, onClose}} {
		key := at + string(c.role)
		if len(c.args) == 0 && !f.Has(key) || c.role == program.OnClose && r.OnClose == nil {
			continue
		}
		some = true
		p, err := r.program(f, at, key, program.ID{Service: s.Name, Role: c.role}, c.args)
		if err != nil {
			return err
		}
		p.User, p.TimeLimit = r.CommandUser, duration(r.CommandLimit)
		s.programs = append(s.programs, p)
	}
	if some {
		return checkUser(f, at+"command_user", r.CommandUser)
	}
	for _, key := range []string{"command_user", "command_limit"} {
		if f.Has(at + key) {
			return f.Errorf(at+key, "got it without on_open and on_close")
		}
	}
	return nil
}

// program reads a program: its arguments, which a key has, and the keys that all
// programs of the service share.
func (r *rawService) program(f *tomlfile.File, at, key string, id program.ID, args []string) (p program.Program, err error) {
	p = program.Program{
		ID: id, Args: args, Dir: r.ProgramDir, Env: r.ProgramEnv, StopAfter: duration(r.StopAfter),
		Limits: program.Limits{Memory: uint64(r.MaxMemory), Files: uint64(r.MaxFiles), Processes: uint64(r.MaxProcesses)},
	}
	if fault := argumentsFault(args); fault != "" {
		return p, f.Errorf(key, "got %s", fault)
	}
	if !filepath.IsAbs(r.ProgramDir) || strings.ContainsRune(r.ProgramDir, 0) {
		return p, f.Errorf(at+"program_dir", "got %q", r.ProgramDir)
	}
	if fault := variablesFault(r.ProgramEnv); fault != "" {
		return p, f.Errorf(at+"program_env", "got %s", fault)
	}
	return p, nil
}

// programKeys are the keys that all programs of a service share.
var programKeys = []string{"stop_after", "program_dir", "program_env", "max_memory", "max_files", "max_processes"}

// checkProgramKeys rejects the keys of programs for a service that has none.
func (s *Service) checkProgramKeys(f *tomlfile.File, at string) error {
	if len(s.programs) > 0 {
		return nil
	}
	for _, key := range programKeys {
		if f.Has(at + key) {
			return f.Errorf(at+key, "got it for a service without program, on_open and on_close")
		}
	}
	return nil
}

// argumentsFault returns what is wrong with the arguments of a program; empty: nothing
// is.
func argumentsFault(args []string) string {
	switch {
	case len(args) == 0:
		return "an empty list"
	case len(args) > maxArguments:
		return fmt.Sprintf("%d entries; at most %d are possible", len(args), maxArguments)
	case !filepath.IsAbs(args[0]) || strings.HasSuffix(args[0], "/"):
		return fmt.Sprintf("%q, which is not the absolute path of a program: no shell looks for it in PATH", args[0])
	}
	for i, a := range args {
		if fault := textFault(a); fault != "" {
			return fmt.Sprintf("an entry (%d) with %s", i+1, fault)
		}
	}
	return ""
}

func textFault(text string) string {
	switch {
	case len(text) > maxText:
		return fmt.Sprintf("%d bytes; at most %d are possible", len(text), maxText)
	case strings.ContainsRune(text, 0):
		return "a zero byte"
	}
	return ""
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variablesFault returns what is wrong with the variables of a program; empty: nothing
// is. The server and the runner set some variables themselves.
func variablesFault(list []string) string {
	if len(list) > maxVariables {
		return fmt.Sprintf("%d entries; at most %d are possible", len(list), maxVariables)
	}
	var names []string
	for i, v := range list {
		name, _, ok := strings.Cut(v, "=")
		switch {
		case !ok || !variableName.MatchString(name):
			return fmt.Sprintf("an entry (%d) that is not NAME=VALUE", i+1)
		case textFault(v) != "":
			return fmt.Sprintf("an entry (%d) with %s", i+1, textFault(v))
		case strings.HasPrefix(name, "SALLYPORT_") || strings.HasPrefix(name, "LISTEN_"):
			return fmt.Sprintf("%s, which the server sets itself", name)
		case slices.Contains(names, name):
			return fmt.Sprintf("%s twice", name)
		}
		names = append(names, name)
	}
	return ""
}

// checkUser rejects users that no program may run as: root, and what is no user.
func checkUser(f *tomlfile.File, key, user string) error {
	n, err := strconv.ParseUint(user, 10, 32)
	switch {
	case user == "":
		return f.Errorf(key, "got nothing")
	case user == "root", err == nil && n == 0:
		return f.Errorf(key, "got %q: a program that strangers or clients can influence must not run as root", user)
	case strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == ':' || r == '/' || r == 0x7f }):
		return f.Errorf(key, "got %q", user)
	}
	return nil
}

// checkProgramUsers rejects programs that run as the server's user: they could join its
// sockets, trace it, and read its secrets. The privilege package compares the numbers.
func (r *raw) checkProgramUsers(f *tomlfile.File) error {
	if r.User == "" {
		return nil
	}
	for i := range r.Service {
		s := &r.Service[i]
		for _, u := range []struct{ key, name string }{{"program_user", s.ProgramUser}, {"command_user", s.CommandUser}} {
			if u.name == r.User {
				return f.Errorf(fmt.Sprintf("service.%d.%s", i, u.key), "got %q, the user of the server, whose secrets the program could read", u.name)
			}
		}
	}
	return nil
}

// texts returns the entries of a list of texts; nil: there is no list.
func texts(value any) (list []string, err error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case []any:
		for _, entry := range v {
			text, ok := entry.(string)
			if !ok {
				return nil, fmt.Errorf("got %v in the list", entry)
			}
			list = append(list, text)
		}
		return list, nil
	}
	return nil, fmt.Errorf("got %v", value)
}

// Programs returns the programs of all services, in the order of the configuration.
func (c *Config) Programs() (all []program.Program) {
	for i := range c.Services {
		all = append(all, c.Services[i].programs...)
	}
	return all
}

// Programs returns the service's programs.
func (s *Service) Programs() []program.Program { return s.programs }

// Program returns the service's program with a role; nil: it has none.
func (s *Service) Program(role program.Role) *program.Program {
	for i := range s.programs {
		if s.programs[i].Role == role {
			return &s.programs[i]
		}
	}
	return nil
}

// commandsText returns what the service runs for each lease, after a separator; empty:
// nothing.
func (s *Service) commandsText(separator string) string {
	var list []string
	for _, c := range []struct {
		role program.Role
		when string
	}{{program.OnOpen, "before it opens"}, {program.OnClose, "after it closes"}} {
		if p := s.Program(c.role); p != nil {
			list = append(list, fmt.Sprintf("runs %s as %s %s", p.Args[0], p.User, c.when))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return separator + strings.Join(list, ", ")
}

// describeCommands describes a service without a port.
func (s *Service) describeCommands() string {
	longer := ""
	if s.Policy.OpenMax > s.Policy.OpenFor {
		longer = fmt.Sprintf(" (further sequences extend it, to %s at most)", durations.Short(s.Policy.OpenMax))
	}
	return fmt.Sprintf("%s: %s, opens for %s%s%s", s.Name, s.kind.describe(s), durations.Short(s.Policy.OpenFor), longer, s.commandsText("; "))
}
