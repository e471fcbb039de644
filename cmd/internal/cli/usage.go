package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/cmd/internal/nearest"
	"sallyport/sessions/durations"
)

// likely is how many edits a mistyped name may be away from the name that was
// probably meant.
const likely = 2

// Group makes a command that has only subcommands: without one it prints its help.
func Group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return Misuse(appendHint(unknownCommand(c, args[0]), c.CommandPath()+" --help"))
	}
	return c
}

// unknownCommand returns the error about a subcommand that a group does not have.
func unknownCommand(group *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q", name)
	if meant := meantCommand(group, name); meant != nil {
		return WithHint(err, "did you mean: "+meant.CommandPath())
	}
	return err
}

// meantCommand returns the command that a mistyped name was probably meant to be:
// a subcommand of the group, or else a command of this name elsewhere; nil: none.
func meantCommand(group *cobra.Command, name string) *cobra.Command {
	var names []string
	for _, c := range group.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		if slices.Contains(c.SuggestFor, name) {
			return c
		}
		names = append(names, c.Name())
	}
	near := nearest.Word(name, names, likely)
	for _, c := range group.Commands() {
		if near != "" && c.Name() == near {
			return c
		}
	}
	return named(group.Root(), name)
}

// named returns the first command with a name; nil: there is none.
func named(c *cobra.Command, name string) *cobra.Command {
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		if sub.Name() == name {
			return sub
		}
		if found := named(sub, name); found != nil {
			return found
		}
	}
	return nil
}

// explainArguments makes the errors about arguments of a command, and of all
// commands below it, name what is missing or unexpected.
func explainArguments(c *cobra.Command) {
	for _, sub := range c.Commands() {
		explainArguments(sub)
	}
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		if err == nil {
			return nil
		}
		required, most := positions(c.Use)
		switch {
		case len(args) < len(required):
			err = errors.New("missing argument " + strings.Join(required[len(args):], " "))
		case most >= 0 && len(args) > most:
			err = fmt.Errorf("unexpected argument %q", args[most])
			if c.Flags().Lookup("config") != nil && most == 0 {
				return WithHint(err, "a configuration file is named with -c FILE")
			}
		}
		if most == 0 {
			return err
		}
		return WithHint(err, "usage: "+c.UseLine())
	}
}

// positions returns from the usage of a command the names of the arguments that it
// requires, and how many it accepts at most; -1: any number.
func positions(use string) (required []string, most int) {
	_, list, _ := strings.Cut(use, " ")
	optional, unlimited := false, false
	for word := range strings.FieldsSeq(list) {
		if word == "--" || word == "[flags]" {
			continue
		}
		optional = optional || strings.HasPrefix(word, "[")
		unlimited = unlimited || strings.Contains(word, "…")
		if most++; !optional {
			required = append(required, word)
		}
		optional = optional && !strings.HasSuffix(word, "]")
	}
	if unlimited {
		most = -1
	}
	return required, most
}

// explainUsage returns the error that a command has about its arguments in the words
// of this package.
func explainUsage(root, c *cobra.Command, args []string, err error) error {
	if c.HasSubCommands() {
		_, rest, findErr := root.Find(args)
		if findErr == nil && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			return unknownCommand(c, rest[0])
		}
	}
	var unknown *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(c, unknown)
	case errors.As(err, &noValue):
		return fmt.Errorf("%s: expected a value, got none", flagName(noValue.GetFlag()))
	case errors.As(err, &invalid):
		return invalidFlag(invalid)
	}
	return err
}

func unknownFlag(c *cobra.Command, unknown *pflag.NotExistError) error {
	if unknown.GetSpecifiedShortnames() != "" {
		return errors.New("unknown flag: -" + unknown.GetSpecifiedName())
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	err := errors.New("unknown flag: --" + unknown.GetSpecifiedName())
	if near := nearest.Word(unknown.GetSpecifiedName(), names, likely); near != "" {
		return WithHint(err, "did you mean: --"+near)
	}
	return err
}

// invalidFlag returns the error about the value of a flag: the expected kind of
// value, and the value.
func invalidFlag(invalid *pflag.InvalidValueError) error {
	f, value := invalid.GetFlag(), invalid.GetValue()
	expected := ""
	switch kind := f.Value.Type(); {
	case kind == "duration" && value != "" && strings.Trim(value, "0123456789") == "":
		return fmt.Errorf("%s: expected a duration with a unit (%s), such as %ss, got %q", flagName(f), durations.Units, value, value)
	case kind == "duration":
		expected = "a duration such as 3s, 1h30m or 7d, with the units " + durations.Units
	case kind == "bool":
		expected = "true or false"
	case kind == "uint8":
		expected = "a whole number from 0 to 255"
	case kind == "uint16":
		expected = "a whole number from 0 to 65535"
	case strings.HasPrefix(kind, "uint"):
		expected = "a whole number, not negative"
	case strings.HasPrefix(kind, "int"):
		expected = "a whole number"
	case strings.HasPrefix(kind, "float"):
		expected = "a number"
	default:
		return fmt.Errorf("%s: got %q: %w", flagName(f), value, invalid.Unwrap())
	}
	return fmt.Errorf("%s: expected %s, got %q", flagName(f), expected, value)
}

// mayBeEmpty annotates a flag whose empty value has a meaning.
const mayBeEmpty = "may-be-empty"

// AcceptEmpty makes a command accept an empty value of a flag.
func AcceptEmpty(c *cobra.Command, name string) {
	c.Flags().SetAnnotation(name, mayBeEmpty, []string{"true"})
}

// refuseEmpty returns an error if a flag was given with an empty text. The text is
// probably that of a variable that is not set, as in --services "$NAMES". Without the
// error it would mean the default, which permits more than the flag should.
func refuseEmpty(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		text := f.Value.Type() == "string" && f.Value.String() == "" || f.Value.Type() == "stringSlice" && f.Value.String() == "[]"
		if text && f.Annotations[mayBeEmpty] == nil && err == nil {
			err = WithHint(fmt.Errorf("%s: expected a value, got an empty text", flagName(f)), "for the default, omit the flag")
		}
	})
	return err
}

func flagName(f *pflag.Flag) string { return "--" + f.Name }

// appendHint adds a hint after those that an error has.
func appendHint(err error, text string) error {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		text = hinted.Hint() + "\n" + text
	}
	return WithHint(err, text)
}
