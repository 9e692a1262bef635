package storagetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// aSecret is as long as the secrets that are issued, and can be told from others.
func aSecret(name string) string { return name + strings.Repeat(".", 43-len(name)) }

func aRefresh(session string) sessions.Refresh {
	return sessions.Refresh{
		SessionID: session, TokenID: "jti-" + session, TokenExpiresAt: stored(after(5 * time.Minute)),
		IssuedAt: stored(now()), ExpiresAt: stored(after(8 * time.Hour)),
	}
}

// rotate spends one refresh token and issues its successor, as it is always done: in one transaction.
func rotate(from, to, answer string, at time.Time) func(context.Context, broker.Tx) error {
	return func(ctx context.Context, tx broker.Tx) error {
		r, err := tx.TakeRefresh(ctx, aSecret(from), aSecret(to), []byte(answer), at)
		if err != nil {
			return err
		}
		return tx.PutRefresh(ctx, aSecret(to), aRefresh(r.SessionID))
	}
}

func takeRefresh(secret string, at time.Time) func(context.Context, broker.Tx) error {
	return func(ctx context.Context, tx broker.Tx) error {
		_, err := tx.TakeRefresh(ctx, secret, aSecret("next"), []byte("answer"), at)
		return err
	}
}

// family is a store with session s1 and its first refresh token, "one".
func family(t testing.TB, open opener) broker.Store {
	t.Helper()
	s := open(t)
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateSession(ctx, aSession("s1", "", "a1"), ""),
			tx.PutRefresh(ctx, aSecret("one"), aRefresh("s1")))
	})
	return s
}

func refreshTokens(t *testing.T, open opener) {
	t.Run("one comes back as it was, and with the time of its use", func(t *testing.T) {
		usedRefresh(t, family(t, open))
	})
	t.Run("an unknown one is not found", func(t *testing.T) {
		s := family(t, open)
		for _, secret := range []string{"", "one", aSecret("ONE"), aSecret("one") + ".", "\x00"} {
			refused(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
				_, err := tx.Refresh(ctx, secret)
				return err
			})
		}
	})
	t.Run("a secret is given once, and never one that can be guessed", func(t *testing.T) {
		s := family(t, open)
		for secret, want := range map[string]error{
			aSecret("one"): identity.ErrConflict, "": identity.ErrInvalid, "short": identity.ErrInvalid,
		} {
			refused(t, s, want, func(ctx context.Context, tx broker.Tx) error {
				return tx.PutRefresh(ctx, secret, aRefresh("s1"))
			})
		}
	})
	for name, refusal := range map[string]func(context.Context, broker.Tx) error{
		"unknown":                 takeRefresh(aSecret("other"), now()),
		"empty":                   takeRefresh("", now()),
		"shorter than any issued": takeRefresh("one", now()),
		"at its end":              takeRefresh(aSecret("one"), after(8*time.Hour)),
	} {
		t.Run("taking one that is "+name+" is a conflict and spends nothing", func(t *testing.T) {
			s := family(t, open)
			refused(t, s, identity.ErrConflict, refusal)
			update(t, s, takeRefresh(aSecret("one"), after(8*time.Hour-time.Millisecond)))
		})
	}
	t.Run("one that is taken in a transaction that is undone can be taken again", func(t *testing.T) {
		s := family(t, open)
		err := tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(takeRefresh(aSecret("one"), now())(ctx, tx), errOurs)
		})
		if !errors.Is(err, errOurs) {
			t.Fatal(err)
		}
		update(t, s, takeRefresh(aSecret("one"), now()))
	})
	t.Run("CON-01 CON-02 of 50 takers of one refresh token one wins, and all can read its answer", func(t *testing.T) {
		oneTaker(t, family(t, open))
	})
	t.Run("SES-04 a session that ended or never was has no new ones", func(t *testing.T) { refuseRefresh(t, open(t)) })
	t.Run("SES-04 those of an ended session are still known and have no successor", func(t *testing.T) {
		endedFamily(t, open)
	})
}

func usedRefresh(t *testing.T, s broker.Store) {
	want := aRefresh("s1")
	look := func() {
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Refresh(ctx, aSecret("one"))
			same(t, got, want)
			return err
		})
	}
	look()
	want.UsedAt = stored(after(time.Minute))
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.TakeRefresh(ctx, aSecret("one"), aSecret("two"), []byte("answer"), after(time.Minute))
		same(t, got, want)
		return err
	})
	look()
	refused(t, s, identity.ErrConflict, takeRefresh(aSecret("one"), after(2*time.Minute)))
	look()
}

func oneTaker(t *testing.T, s broker.Store) {
	same(t, atOnce(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx, i int) error {
		return rotate("one", fmt.Sprint("two-", i), fmt.Sprint("two-", i), now())(ctx, tx)
	}), 1)
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		answer, err := tx.RefreshAnswer(ctx, aSecret("one"))
		if err != nil {
			return err
		}
		var successors []string
		for i := range 50 {
			name := fmt.Sprint("two-", i)
			switch _, err := tx.Refresh(ctx, aSecret(name)); {
			case err == nil:
				successors = append(successors, name)
			case !errors.Is(err, identity.ErrNotFound):
				return err
			}
		}
		same(t, successors, []string{string(answer)})
		return nil
	})
}

func refuseRefresh(t *testing.T, s broker.Store) {
	grow(t, s)
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		_, err := tx.EndSession(ctx, "mid", "signed_out", after(time.Second))
		return err
	})
	for session, want := range map[string]error{
		"mid": identity.ErrNotFound, "leaf": identity.ErrNotFound, "unknown": identity.ErrNotFound,
		"": identity.ErrInvalid,
	} {
		refused(t, s, want, func(ctx context.Context, tx broker.Tx) error {
			return tx.PutRefresh(ctx, aSecret("late"), aRefresh(session))
		})
	}
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return tx.PutRefresh(ctx, aSecret("late"), aRefresh("root"))
	})
}

// endedFamily holds what makes a stolen token of an ended session worthless: taking it and issuing its successor are
// one transaction, and that is undone.
func endedFamily(t *testing.T, open opener) {
	for _, end := range []func(context.Context, broker.Tx) ([]string, error){
		func(ctx context.Context, tx broker.Tx) ([]string, error) {
			return tx.EndSession(ctx, "s1", "signed_out", now())
		},
		func(ctx context.Context, tx broker.Tx) ([]string, error) {
			return tx.EndSessions(ctx, "a1", "disabled", now())
		},
	} {
		s := family(t, open)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			ended, err := end(ctx, tx)
			same(t, ended, []string{"s1"})
			return err
		})
		refused(t, s, identity.ErrNotFound, rotate("one", "two", "answer", now()))
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Refresh(ctx, aSecret("one"))
			same(t, got, aRefresh("s1"))
			return err
		})
	}
}

// anAnswer is no text, as nothing in an answer must be.
const anAnswer = "\x00\xff{\"access_token\":\"…\"}"

func refreshAnswers(t *testing.T, open opener) {
	// answered asks for an answer, which must be that one.
	answered := func(name string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.RefreshAnswer(ctx, aSecret(name))
			if err == nil && string(got) != anAnswer {
				t.Errorf("%s: got %q", name, got)
			}
			return err
		}
	}
	t.Run("CON-02 whoever shows the same token gets the same answer, again and again", func(t *testing.T) {
		s := family(t, open)
		refused(t, s, identity.ErrNotFound, answered("one"))
		update(t, s, rotate("one", "two", anAnswer, now()))
		update(t, s, answered("one"))
		view(t, s, answered("one"))
		for _, name := range []string{"two", "other", ""} {
			refused(t, s, identity.ErrNotFound, answered(name))
		}
	})
	t.Run("CON-02 the answer to the predecessor is gone once its successor was used", func(t *testing.T) {
		s := family(t, open)
		update(t, s, rotate("one", "two", anAnswer, now()))
		update(t, s, rotate("two", "three", anAnswer, now()))
		refused(t, s, identity.ErrNotFound, answered("one"))
		view(t, s, answered("two"))
	})
	t.Run("an answer whose successor was never issued is none", func(t *testing.T) {
		s := family(t, open)
		update(t, s, takeRefresh(aSecret("one"), now()))
		refused(t, s, identity.ErrNotFound, answered("one"))
	})
	t.Run("the loser's answer is not kept", func(t *testing.T) {
		s := family(t, open)
		update(t, s, rotate("one", "two", anAnswer, now()))
		refused(t, s, identity.ErrConflict, rotate("one", "else", "else", now()))
		view(t, s, answered("one"))
	})
	t.Run("old answers are forgotten in small batches, oldest first, and their tokens stay used", func(t *testing.T) {
		dropAnswers(t, family(t, open), answered)
	})
}

func dropAnswers(t *testing.T, s broker.Store, answered func(string) func(context.Context, broker.Tx) error) {
	for i, name := range []string{"one", "b", "c"} {
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			var first error
			if name != "one" {
				first = tx.PutRefresh(ctx, aSecret(name), aRefresh("s1"))
			}
			return must(first, rotate(name, name+"-next", anAnswer, after(time.Duration(i)*time.Second))(ctx, tx))
		})
	}
	drop := func(limit, want int) {
		t.Helper()
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			n, err := tx.DropRefreshAnswers(ctx, stored(after(2*time.Second)), limit)
			same(t, n, want)
			return err
		})
	}
	drop(0, 0)
	drop(1, 1)
	refused(t, s, identity.ErrNotFound, answered("one"))
	view(t, s, answered("b"))
	drop(10, 1)
	drop(10, 0)
	refused(t, s, identity.ErrNotFound, answered("b"))
	view(t, s, answered("c"))
	refused(t, s, identity.ErrConflict, takeRefresh(aSecret("one"), now()))
}
