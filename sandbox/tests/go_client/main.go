// Calls IAM without retries, as many at once as asked for, and counts the calls that did not get a whole answer.
//
//	goclient ENDPOINT CALLS CONCURRENT    with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of somebody who may do all
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

var ctx = context.Background()
var calls, broken atomic.Int64

// check counts one call; the first broken ones are printed.
func check(err error) {
	calls.Add(1)
	if err != nil && broken.Add(1) <= 5 {
		fmt.Fprintln(os.Stderr, err)
	}
}

// life makes a user with a key and removes both: seven calls.
func life(client *iam.Client, name string) {
	user := aws.String(name)
	_, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: user})
	check(err)
	_, err = client.GetUser(ctx, &iam.GetUserInput{UserName: user})
	check(err)
	key, err := client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	check(err)
	_, err = client.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: user})
	check(err)
	if key != nil {
		_, err = client.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: user, AccessKeyId: key.AccessKey.AccessKeyId})
		check(err)
	}
	_, err = client.ListPolicies(ctx, &iam.ListPoliciesInput{}) // the longest answer, more than 64 KiB
	check(err)
	_, err = client.DeleteUser(ctx, &iam.DeleteUserInput{UserName: user})
	check(err)
}

func main() {
	wanted, _ := strconv.ParseInt(os.Args[2], 10, 64)
	concurrent, _ := strconv.Atoi(os.Args[3])
	client := iam.New(iam.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(os.Args[1]),
		Credentials: credentials.NewStaticCredentialsProvider(
			os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
		Retryer: aws.NopRetryer{},
	})
	var workers sync.WaitGroup
	for worker := range concurrent {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for turn := 0; calls.Load() < wanted; turn++ {
				life(client, fmt.Sprintf("go-%d-%d", worker, turn))
			}
		}()
	}
	workers.Wait()
	fmt.Printf("%d calls, %d broken\n", calls.Load(), broken.Load())
}
