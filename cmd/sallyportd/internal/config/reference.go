package config

import _ "embed"

// Reference is a configuration with every key, explained: what "sallyportd init"
// writes.
//
//go:embed reference.toml
var Reference string
