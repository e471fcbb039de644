package clients

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// issue is a problem with the column services=. It is an error, except for commands
// that fix it.
type issue uint8

const (
	noIssue   issue = iota
	malformed       // more than one column, or an empty name
	spaced          // spaces between the names
)

// unreadable replaces services that cannot be parsed. No service has this name.
const unreadable = "?"

func (i issue) err() error {
	switch i {
	case malformed:
		return errors.New("expected services= once, followed by names separated by commas, such as services=web,ssh")
	case spaced:
		return errors.New("expected no space between the names after services=, such as services=web,ssh")
	}
	return nil
}

// Allowed returns the services that the client may open; nil: all.
func (c Client) Allowed() []string {
	if c.Services == "" {
		return nil
	}
	return strings.Split(c.Services, ",")
}

// Allow sets the services that the client may open; nil: all.
func (c *Client) Allow(services []string) {
	c.Services, c.issue = strings.Join(services, ","), noIssue
}

// CheckServices returns an error if the services cannot be parsed, or are not in
// known: a misspelt name must not widen or void a restriction.
func (c Client) CheckServices(known []string) error {
	if err := c.issue.err(); err != nil {
		return err
	}
	for _, name := range c.Allowed() {
		if !slices.Contains(known, name) {
			return fmt.Errorf("service %q is not configured; expected %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// HowToFix returns the command that sets the client's services.
func (c Client) HowToFix() string {
	return fmt.Sprintf("\"sallyportd client allow %s SERVICE…\", or --all, fixes it", c.Identifier)
}
