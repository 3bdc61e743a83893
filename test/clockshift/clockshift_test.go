package clockshift_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/clockshift"
)

// childEnv makes the test's own binary the program that is run: it prints what its clocks say.
const childEnv = "CLOCKSHIFT_CHILD"

// tellWhenAsked is the child that goes on, and prints what its clocks say for each line that it reads.
const tellWhenAsked = "tell when asked"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
	case tellWhenAsked:
		started := time.Now()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(time.Now().UnixNano(), time.Since(started).Nanoseconds())
		}
		return
	default:
		before := time.Now()
		time.Sleep(10 * time.Millisecond)
		fmt.Println(before.UnixNano(), time.Since(before).Nanoseconds())
		return
	}
	os.Exit(m.Run())
}

func TestStart(t *testing.T) {
	for _, ahead := range []time.Duration{0, 3 * time.Minute, -5 * time.Minute} {
		t.Run(ahead.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"=1")
			var out bytes.Buffer
			cmd.Stdout = &out
			before := time.Now()
			err := clockshift.Start(cmd, ahead)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			var wall, passed int64
			if _, err := fmt.Sscan(out.String(), &wall, &passed); err != nil {
				t.Fatalf("%v in %q", err, out.String())
			}
			if got := time.Unix(0, wall); got.Before(before.Add(ahead)) || got.After(time.Now().Add(ahead)) {
				t.Errorf("its clock said %v, ours is %v", got, before)
			}
			if passed < int64(10*time.Millisecond) || passed > int64(time.Minute) {
				t.Errorf("10 ms took it %v", time.Duration(passed))
			}
		})
	}
}

func TestSet(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+tellWhenAsked)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = clockshift.Start(cmd, time.Second)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, ahead := range []time.Duration{time.Second, 3 * time.Minute, -5 * time.Minute, 0} {
		if err := clockshift.Set(cmd.Process.Pid, ahead); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		fmt.Fprintln(in)
		var wall, passed int64
		if !lines.Scan() {
			t.Fatal("the program says nothing")
		}
		if _, err := fmt.Sscan(lines.Text(), &wall, &passed); err != nil {
			t.Fatal(err)
		}
		if got := time.Unix(0, wall); got.Before(before.Add(ahead)) || got.After(time.Now().Add(ahead)) {
			t.Errorf("its clock said %v, ours is %v, it is to be ahead by %v", got, before, ahead)
		}
		if passed < 0 || passed > int64(time.Minute) {
			t.Errorf("it thinks that it has run for %v", time.Duration(passed))
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestStartTellsWhatItCannot(t *testing.T) {
	err := clockshift.Start(exec.Command(os.Args[0]), 1500*time.Millisecond)
	if err == nil || !errors.Is(err, errors.ErrUnsupported) && !strings.Contains(err.Error(), "whole seconds") {
		t.Errorf("half a second: %v", err)
	}
	if err := clockshift.Start(exec.Command("/does/not/exist"), time.Second); err == nil {
		t.Error("a program that does not exist was started")
	}
}
