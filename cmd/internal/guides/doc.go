// Package guides has only tests. They run every command of every guide, and
// compare what the guide shows with what the command prints. A guide is each
// README.md of the repository, SECURITY.md and .github/CONTRIBUTING.md.
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
//	server, client   the host; the server's if it is left out
//	file PATH        the reader writes the block to a file
//	append PATH      the reader adds the block to a file
//	docker NAME      container/test runs this block under NAME
//	systemd NAME     container/test runs this block under NAME
//	gate STEP        .ci/run or .ci/full runs this command in the step or
//	                 function STEP, or the command is one of these scripts
//
// The test checks that container/test runs "guide docker NAME", which reads the
// block from the guide. It checks that the names and flags of a gate's command
// stand in that order in a line of the scripts; values and paths may differ. An
// unknown mark is an error.
//
// # Commands
//
// The commands of a guide run in their order, in one session for each host, in
// which "cd" and "export" last. The programs are those of this checkout. Each
// command must exit with 0. "sallyportd serve", "watch", "firewall hold" and
// "demo --stay" run on: the test waits for the shown lines, goes on, and ends
// the command with SIGTERM when the guide ends. It must then exit with 0, or by
// the signal.
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
// # Tables
//
// The tables "| command | |" and "| flag | |" of the two programs' guides are
// compared with the programs' help.
package guides
