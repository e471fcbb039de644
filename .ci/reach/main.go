// Command reach counts the code that a stranger's packet can reach before it is
// authenticated. It builds the call graph of the server, and follows it from the
// functions that receive packets (plan.go) to those that have an authenticated
// knock or a proof as a parameter.
//
//	.ci/audit          print the counts; fail if README.md states others
//	.ci/audit --write  change README.md
//	.ci/audit --list   print the functions, in the order of a packet
//
// A line counts if it has more than a comment. Declarations of types, variables and
// constants do not count. Code that makes the kernel's filter programs runs before
// a packet, not on one, and does not count either.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("reach", flag.ContinueOnError)
	list := flags.Bool("list", false, "print the functions, in the order of a packet")
	write := flags.Bool("write", false, "write the counts to README.md")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return err
	}
	c, err := countProgram(root, sallyport)
	if err != nil {
		return err
	}
	if *list {
		c.list(out, root)
		return nil
	}
	c.table(out)
	readme := filepath.Join(root, "README.md")
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	fixed, err := compare(string(text), c.sentence())
	if err == nil || !*write || fixed == "" {
		return err
	}
	return os.WriteFile(readme, []byte(fixed), 0o644)
}

var stated = regexp.MustCompile(`can reach [0-9,]+ lines of this project's code [^.]*dependencies`)

// compare returns an error if a text does not state the counts, and the text with
// the counts if it states others.
func compare(readme, sentence string) (fixed string, err error) {
	found := stated.FindAllString(readme, -1)
	switch {
	case len(found) != 1:
		return "", fmt.Errorf("README.md must state once that a packet %q, got %d times", sentence, len(found))
	case found[0] != sentence:
		return strings.Replace(readme, found[0], sentence, 1), fmt.Errorf(
			"README.md states other counts:\n  got  %s\n  want %s\nCorrect README.md in the commit that changes the code (--write), and give the reason in its message",
			found[0], sentence)
	}
	return readme, nil
}
