//go:build race

package pebble

// damages is how many files TestFlippedBits damages: fewer with the race detector, which makes reading ten times slower and
// has nothing to find there.
const damages = 40
