package config

import _ "embed"

// Reference is a configuration with all keys and their explanations. "sallyportd
// init" writes it.
//
//go:embed reference.toml
var Reference string
