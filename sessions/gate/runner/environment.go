package runner

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// names are the variables that a request may set.
var names = []string{
	"SALLYPORT_EVENT", "SALLYPORT_SERVICE", "SALLYPORT_CLIENT", "SALLYPORT_OPERATION", "SALLYPORT_ADDRESS",
	"SALLYPORT_PREFIX", "SALLYPORT_UNTIL", "SALLYPORT_REASON", "SALLYPORT_PORT", "SALLYPORT_LEASE",
}

// maxValue is the size of the largest value of a variable, in bytes.
const maxValue = 512

// checkEnvironment returns an error if a request must not set these variables: the
// server may be in an attacker's hands, and a variable like LD_PRELOAD would replace
// the program.
func checkEnvironment(env []string) error {
	for i, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case !slices.Contains(names, name) || len(pair) == len(name):
			return fmt.Errorf("environment: expected variables like %s=open, got %.40q", names[0], pair)
		case slices.ContainsFunc(env[:i], func(other string) bool { return strings.HasPrefix(other, name+"=") }):
			return fmt.Errorf("environment: %s is set twice", name)
		case len(value) > maxValue:
			return fmt.Errorf("environment: %s: expected at most %d bytes, got %d", name, maxValue, len(value))
		case !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }):
			return fmt.Errorf("environment: %s: expected printable characters, got %.40q", name, value)
		}
	}
	return nil
}

// searchPath is the PATH of programs: those of the distributions.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// instanceName is the variable by which a runner finds the processes that the runner of
// an earlier server has left.
const instanceName = "SALLYPORT_INSTANCE"

// environment joins lists of variables. A later one replaces an earlier one.
func environment(lists ...[]string) (env []string) {
	at := map[string]int{}
	for _, pair := range slices.Concat(lists...) {
		name, _, _ := strings.Cut(pair, "=")
		if i, ok := at[name]; ok {
			env[i] = pair
			continue
		}
		at[name] = len(env)
		env = append(env, pair)
	}
	return env
}
