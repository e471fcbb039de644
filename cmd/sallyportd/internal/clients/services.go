package clients

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// issue is what is wrong with a column services=. Commands that fix it read
// past it; to every other reader it is an error.
type issue uint8

const (
	noIssue issue = iota
	malformed
	spaced
)

// unreadable stands for services that cannot be read. No service has this name.
const unreadable = "?"

func (i issue) err() error {
	switch i {
	case malformed:
		return errors.New("expected services= once, and names divided by commas after it, such as services=web,ssh")
	case spaced:
		return errors.New("no space may stand between the names after services=: write services=web,ssh")
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

// Allow changes the services that the client may open; none: all.
func (c *Client) Allow(services []string) {
	c.Services, c.issue = strings.Join(services, ","), noIssue
}

// CheckServices refuses what cannot be read, and names of services that are not
// configured: a restriction must not come to nothing by a spelling mistake.
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

// HowToFix says how to give a client services that are configured.
func (c Client) HowToFix() string {
	return fmt.Sprintf("\"sallyportd client allow %s SERVICE…\", or --all, fixes it", c.Identifier)
}
