package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/state"
)

// checkClosing warns about a record of closing commands that cannot be read, and about
// recorded commands that no server will run. Without the rights to read it, nothing is
// known.
func checkClosing(cfg *config.Config) (found []finding) {
	list, err := state.ReadClosing(cfg.StateDir)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		todo := ""
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			todo = hinted.Hint()
		}
		found = append(found, warn("closing-record-unreadable", todo,
			"the record of closing commands cannot be read, so the next start does not run all of them: %v", err))
	}
	lost := map[string]int{}
	for _, c := range list {
		if s := cfg.Service(c.Service); s == nil || s.Program(program.OnClose) == nil {
			lost[c.Service]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lost)) {
		found = append(found, warn("closing-command-dropped", "restore on_close of the service until it has run, or run it by hand",
			"the record has closing commands of service %s (%s), which has no on_close: the next start drops them", name, count(lost[name], "lease")))
	}
	return found
}

// checkPrograms warns about programs that cannot run, or that other users can replace.
// It fails if a server would refuse a program's user.
func checkPrograms(cfg *config.Config) (found []finding, err error) {
	server := uint32(os.Geteuid())
	if cfg.User != "" {
		if server, err = privilege.UserID("user", cfg.User); err != nil {
			return nil, err
		}
	}
	services := map[string][]string{} // by user
	for _, p := range cfg.Programs() {
		uid, err := privilege.UserID(p.Role.UserKey(), p.User)
		switch {
		case err != nil:
			return nil, cli.Misuse(fmt.Errorf("service %s: %w", p.Service, err))
		case uid == 0 || uid == server:
			return nil, cli.Misuse(hint.With(fmt.Errorf("service %s: %s: expected a user that is neither root nor the server's, got %q, with the number %d", p.Service, p.Role.UserKey(), p.User, uid),
				"make a user for the program, such as \"useradd --system --no-create-home "+quoted(strings.ToLower(p.Service))+"\""))
		}
		if !slices.Contains(services[p.User], p.Service) {
			services[p.User] = append(services[p.User], p.Service)
		}
		found = append(found, checkProgram(p, uid)...)
	}
	if len(services) > 0 {
		found = append(found, checkConfigOwner(cfg, server)...)
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if p := s.Program(program.Server); p != nil {
			found = append(found, checkProgramUpstream(cfg, s, p.User)...)
			if all := services[p.User]; len(all) > 1 {
				delete(services, p.User) // once for each user
				found = append(found, warn("program-user-shared", "make a user for the programs of each service: \"useradd --system --no-create-home NAME\"",
					"programs of the services %s run as user %s: each can stop, trace and change the others", strings.Join(all, ", "), p.User))
			}
		}
	}
	return found, nil
}

// checkConfigOwner warns about users who can change which programs the server starts. Its
// own user is one of them where root does not own the configuration.
func checkConfigOwner(cfg *config.Config, server uint32) []finding {
	if by := replaceableBy(cfg.Path, server); by != "" {
		return []finding{warn("config-replaceable", "let root own the file and the directories above it, and \"chmod go-w\" them",
			"%s can replace %s, and so run other programs from the next start on", by, cfg.Path)}
	}
	if server == 0 || replaceableBy(cfg.Path, 0) == "" {
		return nil
	}
	return []finding{{advice, "config-of-server",
		fmt.Sprintf("the server's user %s can replace %s: an attacker who takes over the server can run other programs from the next start on", userName(server), cfg.Path),
		"start the server by a unit that makes the file read-only (container/sallyportd.service); or let root own the file and its directory, and name other directories in state_dir and admin_socket"}}
}

// checkProgram warns about a program that its user cannot run, or that another user can
// replace. A file that a script or an argument names may be as important; only the
// program itself is known here.
func checkProgram(p program.Program, uid uint32) (found []finding) {
	path := p.Args[0]
	add := func(code, hint, format string, args ...any) {
		found = append(found, warn(code, hint, "service %s: %s: "+format, append([]any{p.Service, p.Role.Key()}, args...)...))
	}
	info, err := os.Stat(path)
	executable := err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	switch {
	case errors.Is(err, fs.ErrNotExist):
		add("program-missing", "install it, or correct the path", "%s does not exist", path)
	case err != nil:
		add("program-unchecked", "", "cannot check %s: %v", path, hint.Cause(err))
	case info.IsDir():
		add("program-not-executable", "name a file", "%s is a directory", path)
	case !executable:
		add("program-not-executable", "\"chmod +x\" makes a file executable", "%s is not an executable file", path)
	}
	if executable && missingInterpreter(path) != "" {
		add("program-interpreter-missing", "install it, or correct the first line of the program",
			"%s names the interpreter %q, which does not exist", path, missingInterpreter(path))
	}
	if executable && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		add("program-setuid", "let a program of root do what requires the rights, as the guide's recipes show",
			"%s is a setuid or setgid file, and runs with the rights of user %s only (no_new_privs)", path, p.User)
	}
	if by := replaceableBy(path, uid); err == nil && by != "" {
		add("program-replaceable", "let root own the file and the directories above it, and \"chmod go-w\" them",
			"%s can replace %s, and so run programs as user %s", by, path, p.User)
	}
	dir, dirErr := os.Stat(p.Dir)
	isDir := dirErr == nil && dir.IsDir()
	switch {
	case errors.Is(dirErr, fs.ErrNotExist):
		add("program-dir-missing", "make it, or correct program_dir", "the working directory %s does not exist, so the program cannot start", p.Dir)
	case dirErr == nil && !isDir:
		add("program-dir-missing", "correct program_dir", "the working directory %s is not a directory, so the program cannot start", p.Dir)
	}
	// An error means that this process cannot act as the user: nothing is known then.
	privilege.UserView(p.User, func() {
		if executable && unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) != nil {
			add("program-denied", enterHint(path), "user %s may not execute %s", p.User, path)
		}
		if isDir && unix.Faccessat(unix.AT_FDCWD, p.Dir, unix.X_OK, unix.AT_EACCESS) != nil {
			add("program-dir-denied", enterHint(p.Dir), "user %s may not enter the working directory %s", p.User, p.Dir)
		}
	})
	return found
}

// maxFirstLine is how many bytes of a script the kernel reads to find its interpreter.
const maxFirstLine = 256

// missingInterpreter returns the program that the first line of a script names, if it does
// not exist; empty: it does, or the file is no script, or cannot be read.
func missingInterpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxFirstLine))
	line, _, _ := strings.Cut(string(text), "\n")
	names, isScript := strings.CutPrefix(line, "#!")
	names = strings.Trim(names, " \t")
	if end := strings.IndexAny(names, " \t"); end >= 0 {
		names = names[:end]
	}
	if _, err := os.Stat(names); !isScript || names == "" || !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return names
}

// enterHint returns what to do so that the user, as whom this thread runs, may use a
// file.
func enterHint(path string) string {
	if dir := closedDirectory(path); dir != "" {
		return "let the user enter the directory " + dir
	}
	return "give the user or one of its groups the right to it"
}

// checkProgramUpstream warns about other users who reach a program, or can take its
// place. The program runs as a user.
func checkProgramUpstream(cfg *config.Config, s *config.Service, runs string) (found []finding) {
	to := s.ProgramUpstream()
	path := to.Unix()
	switch {
	case to == "": // it inherits a socket that no other user reaches
		return nil
	case path == "":
		return []finding{{advice, "program-on-loopback",
			fmt.Sprintf("service %s: while the program runs, each local user can connect to it at %s without a lease", s.Name, to),
			"if the program can, let it listen on a Unix socket (upstream = \"unix:/PATH\"), or inherit one (upstream = \"inherit\")"}}
	}
	add := func(code, hint, format string, args ...any) {
		found = append(found, warn(code, hint, "service %s: upstream: "+format, append([]any{s.Name}, args...)...))
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		add("program-socket-dir-missing", "make it for user "+runs+", at each boot if it is below /run: see tmpfiles.d(5)",
			"the directory %s of the socket cannot be used: %v", dir, hint.Cause(err))
		return found
	}
	uid, _ := privilege.UserID(program.Server.UserKey(), runs) // was checked before
	// Other programs need a directory such as /run or /tmp as it is.
	todo := "name a directory for this socket only, which user " + runs + " owns, and which only it and the server's group can enter"
	own := info.Sys().(*syscall.Stat_t).Uid == uid
	if by := replaceableBy(filepath.Join(dir, "x"), uid); by != "" {
		add("program-socket-replaceable", todo,
			"%s can make another socket at %s before the program does, and so keep the service closed", by, path)
	}
	denied := false
	privilege.UserView(runs, func() {
		if denied = unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) != nil; denied {
			add("program-socket-denied", todo, "user %s may not make a socket in %s", runs, dir)
		}
	})
	if own {
		todo = "let only user " + runs + " and the server's group enter the directory: \"chmod o-rwx\""
	}
	if info.Mode()&0o001 != 0 && !denied {
		found = append(found, finding{advice, "program-socket-reachable",
			fmt.Sprintf("service %s: each local user can enter %s, and connect to the program without a lease if the mode of its socket permits that", s.Name, dir),
			todo})
	}
	privilege.UserView(cfg.User, func() {
		if unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS) != nil {
			add("program-socket-denied", enterHint(path), "user %s, to which \"serve\" switches, may not enter %s", cfg.User, dir)
		}
	})
	return found
}
