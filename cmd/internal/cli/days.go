package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/sessions/durations"
)

// acceptDays makes all flags of a command, and of the commands below it, that are
// durations accept days and weeks too.
func acceptDays(c *cobra.Command) {
	for _, sub := range c.Commands() {
		acceptDays(sub)
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Value.Type() == "duration" {
			f.Value = withDays{f.Value}
			if f.DefValue == "0s" {
				f.DefValue = "" // pflag would print it, since it does not know the type
			}
		}
	})
}

// withDays is the value of a flag that is a duration.
type withDays struct{ pflag.Value }

func (v withDays) Set(text string) error {
	d, err := durations.Parse(text)
	if err != nil {
		return err
	}
	return v.Value.Set(d.String())
}
