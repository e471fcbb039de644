// Package runner starts the operator's programs in a process apart from the server,
// which parses strangers' packets and can start nothing.
//
//	the server, without privileges      the runner, as the user of the programs
//	Connect
//	  <- hello: version, and the digest
//	     of the runner's programs <------ Serve: it has inherited the programs in a
//	  equal to those of the               sealed file, and reads no configuration
//	  configuration?
//	Conn.Begin, after the lock of the
//	state directory
//	  -> begin: mark of the instance ---> endEarlier: processes of an earlier runner
//	Conn.Start                            end first
//	  -> start: program, variables,
//	     listener ----------------------> allowed? then a supervisor -> the program
//	                                        its output -> lines -> the log
//	Run.Stop
//	  -> stop --------------------------> SIGTERM, and SIGKILL after StopAfter
//	  <- ended: why <-------------------- no process of the run is left
//
// There is one runner for each user that a program runs as, a child of the server.
// Package privilege starts it before the server drops its privileges. It has no
// capability and cannot gain one. It is this program again, as are its supervisors.
//
// Each run has a supervisor (supervisor_linux.go), which adopts the orphans of all its
// processes. It ends when none is left, so its end is the end of the run:
//
//	server --- runner ---+--- supervisor --- program --- its processes
//	                     +--- supervisor --- program     in other sessions, too
//
// The first process of a program is the program. It has a session, /dev/null as
// standard input, pipes as standard output and error, perhaps a listener as descriptor
// 3 (LISTEN_FDS and LISTEN_PID as in sd_listen_fds(3)), and no other descriptor. It has
// no signal blocked or ignored, umask 022, no core files, the limits of the
// configuration, and these variables: PATH, HOME, USER, LOGNAME, those of the
// configuration, those of the request, and SALLYPORT_INSTANCE. When it ends, the
// others get SIGTERM, and SIGKILL after StopAfter: a server must stay in the
// foreground, and a command must wait for its processes. The limit of processes counts
// all processes and threads of the user, about ten of a runner and as many of each
// supervisor included. If a program requires a limit of memory or processes, or a
// listener, a step before it sets these (step_linux.go); otherwise the supervisor
// executes the program, which costs half as much.
//
// No process outlives the part that is responsible for it:
//
//   - If the server ends, in any way, its runners stop all programs, as Run.Stop does.
//   - If a runner ends, its supervisors kill all their processes. If the host allows
//     it, a runner is the first process of a namespace, and the kernel kills all others
//     there.
//   - If a supervisor ends, the kernel kills the first process of the program
//     (PR_SET_PDEATHSIG), and the runner adopts and kills the others.
//   - If a program stops its supervisor by SIGSTOP, the runner kills both when the run
//     has to end. If it stops the runner, the server continues that, which it may
//     because both are in one session. If the server ends, the kernel continues the
//     runner, and if the runner ends, its supervisors (PR_SET_PDEATHSIG).
//   - If the host delegates a control group, each run has one below that of its runner,
//     which its supervisor enters before it starts the program (group_linux.go). The
//     runner kills and removes it at the end of the run. The server kills the whole
//     when the runner has ended, through cgroup.kill, which the user of the programs
//     cannot open. A program can move to the control group of another run of its user,
//     and no further.
//   - If a runner and a supervisor are killed together, without any of both, processes
//     can be left. The runner of the next server finds them by SALLYPORT_INSTANCE in
//     their environment, and kills them before it starts a program.
//   - If a server is killed and the next one starts at once, the earlier runner may
//     still stop its programs, for StopAfter at most. The next runner waits until that
//     one has ended and so unlocks its byte of a file (lockName): no program runs twice.
//
// A Conn whose runner has ended does not get another one: each run ends with ErrLost
// when no process of it is left, no start succeeds, and only a restart of the server
// helps. Conn learns the end of all processes from a pipe, whose other end is
// open in the runner and its supervisors.
//
// Processes of one user can signal each other, and the kernel offers no protection from
// that. They cannot trace a runner or a supervisor, or read its memory
// (PR_SET_DUMPABLE): a runner has the connection to the server. A process of the user
// can trace a supervisor in the moment before it calls prctl(2), and can then report a
// false result of its program. It can do the same by tracing the program. So the
// processes of the user can change the programs of that user only.
//
// In Conn, one goroutine reads, one waits for the end, and Start and Stop write, each a
// message. In the runner, one goroutine executes requests, and each run has one for its
// state, one for the supervisor's reports, and one for each stream. A full log, or a
// program that writes too fast, makes the program wait: its pipe is full. Lines above
// outputLimit are dropped and counted. MaxRuns bounds the runs of a runner.
package runner
