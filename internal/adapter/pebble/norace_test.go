//go:build !race

package pebble

const damages = 200
