//go:build !linux

package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

func measureKnocks(*cobra.Command, cli.Env, int) ([]time.Duration, error) {
	return nil, cli.WithHint(
		cli.Misuse(errors.New("measuring requires Linux")), "use --model-only to calculate the model")
}

func timePrograms(*cobra.Command, cli.Env, knocktimeOptions) error {
	return cli.Misuse(errors.New("--real requires Linux"))
}
