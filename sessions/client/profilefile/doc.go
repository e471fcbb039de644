// Package profilefile is the form of a profile's file, which is TOML: what
// "sallyportd client add" writes, a person may edit, and a client reads.
//
//	text -> Parse          decodes it strictly (decode.go)
//	     -> File.Profile   checks each key (file.go, challenge.go, rotate.go, opening.go)
//	     -> client.Profile
//	     -> Format         the text again
//
// The commands decode the text by themselves, so that their errors have lines, and then
// call File.Profile: both accept the same profiles. No error repeats a secret.
package profilefile
