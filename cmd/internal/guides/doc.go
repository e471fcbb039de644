// Package guides has only tests. They run every command of every guide, and
// compare what the guide shows with what the command prints. A guide is each
// README.md of the repository, SECURITY.md and .github/CONTRIBUTING.md. Other tests
// check the links, the length of the README, and its paragraphs on dependencies.
//
// # Blocks
//
// A block is fenced with three backticks, and names its language:
//
//	console     lines "$ command", each followed by the output that the guide shows
//	toml        a configuration; "sallyportd check" must accept it
//	sshconfig   lines for ~/.ssh/config
//	text, none  anything else; it must not hold a command
//
// Other languages are errors, and so are commands with a placeholder ("...",
// "…" or "<name>"): a reader must be able to run a command as it stands. A toml
// block without "version" is a part: the test adds the keys that every
// configuration requires, and the services that the part names.
//
// # Marks
//
// An HTML comment on the line before the fence has the form "<!-- run: … -->".
// Without a mark, the block is run on the server's host. The words are, in this
// order:
//
//	root             in another session: see Root
//	server, client   the host; the server's if it is left out
//	file PATH        the reader writes the block to a file
//	append PATH      the reader adds the block to a file
//	docker NAME      container/test runs this block under NAME
//	systemd NAME     container/test-systemd runs this block under NAME
//	packages NAME    container/packages/test runs this block under NAME
//	gate NAME        .ci/run runs this block under NAME
//
// The scripts read a block's commands from the guide, by .ci/guide, run
// exactly these, and fail if they have not run a block that is marked for them.
// The one exception is the block "tests": .ci/run compares its commands with two
// known ones, adds flags to the first, and is the second. Here the test checks
// that the scripts run each name, and that the gate's commands parse. No script
// compares output, so these blocks must not show any. An unknown mark is an error.
//
// # Commands
//
// The commands of a guide run in their order, in one session for each host, in
// which "cd" and "export" last. The programs are those of this checkout. Each
// command must exit with 0. "sallyportd serve", "watch", "firewall hold" and
// "demo --stay", and "sallyport forward" and "stay" run on: the test waits for the
// shown lines, goes on, and ends the command with SIGTERM when the guide ends, or
// starts the same one again. It must then exit with 0, or by the signal.
//
// # Output
//
// If a guide shows output, all of it must match. A line "…" stands for any
// number of lines, and "…" in a line for any text. Numbers, times, durations and
// random identifiers (such as k7Qx) match others of their kind. The identifier
// that a guide shows for the first time stands for the one that the test sees
// there, in later commands too. /home/alice is the client's home.
//
// # Hosts
//
// The server's host is gate.example.org at 203.0.113.5, the client's is
// 203.0.113.9; each has a network namespace and a home. The tests count the
// commands that they find, and those that are run, here or elsewhere. Nothing
// is left out.
//
// # Root
//
// The blocks that are marked root run in their order in another session, by
// TestPrograms. There the reader is the host's root, and not only root in a
// namespace: programs can run as other users. /etc is a copy, where the reader can
// add users and change files; /run, /srv and /var are empty. Both hosts begin in one
// directory, where the client finds the files that the administrator has sent.
//
// # Tables
//
// The tables "| command | …" and "| flag | …" of the three programs' guides are
// compared with the programs' help, and so is the sentence that lists the commands
// without --json.
//
// # Text
//
// In the text, commands of floodbench and go test between backticks are checked
// as those of the measurements are. Another phrase of lower-case words between
// backticks must be a command, or occur in the code.
//
// # Measurements
//
// The commands of bench/RESULTS.md take minutes or hours, so the tests check them
// and do not run them: floodbench must parse its flags; each package of a go test
// must have a test that matches each pattern. No other Markdown file may have
// commands.
package guides
