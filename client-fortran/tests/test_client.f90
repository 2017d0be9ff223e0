!> Misuse first, then use, against a pyzmq server: test_client PYTHON SERVER VECTORS.
program test_client
   use, intrinsic :: ieee_arithmetic, only: ieee_is_nan
   use, intrinsic :: iso_fortran_env, only: int32, int64, int8, real32, real64
   use anomalyd
   use testing
   implicit none
   ! The least 64-bit integer, which cannot be written as a number in Fortran.
   integer(int64), parameter :: least = ishft(1_int64, 63)
   ! What a loaded machine may add to a time-out.
   real(real64), parameter :: slack_ms = 150
   character(:), allocatable :: folder, endpoint

   folder = make_folder()
   endpoint = 'ipc://'//folder//'/s'
   call closed_client_is_invalid()
   call wrong_arguments_are_invalid()
   call absent_daemon_is_unavailable_within_the_time_out()
   call start_server('--bind '//endpoint//' --instance first')
   call verdicts_are_of_the_very_step()
   call strings_are_trimmed_and_never_cut()
   call fields_travel_in_memory_order()
   call policy_decides_what_a_missing_verdict_means()
   call silent_daemon_is_a_timeout()
   call stopped_daemon_is_a_timeout()
   call submit_poll_and_wait()
   call rewind_label_and_ping()
   call detail_and_heat_map_are_given()
   call copy_of_an_open_client_is_closed()
   call restarted_daemon_is_a_new_instance()
   call stop_server()
   call finish()

contains

   subroutine closed_client_is_invalid()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      character(80) :: message
      integer(int8), allocatable :: png(:)
      integer :: stat

      call watch%close()
      call watch%close()
      call check(.not. watch%is_open(), 'a new client is closed')
      verdict%act = .true.
      call watch%classify(3, '/a.png', verdict, stat, message)
      call check_status(stat, anomalyd_invalid, 'classify')
      call check(message == 'the client is not open', 'words: '//message)
      call check(verdict%status == anomalyd_invalid .and. verdict%label == anomalyd_unknown .and. verdict%step == 3, 'verdict')
      call check(ieee_is_nan(verdict%score) .and. ieee_is_nan(verdict%threshold) .and. .not. verdict%act, 'no numbers')
      call watch%classify(3, '/a.png', verdict) ! stat and errmsg are optional, and nothing stops
      call watch%submit(3, '/a.png', stat)
      call check_status(stat, anomalyd_invalid, 'submit')
      call watch%poll(verdict, stat)
      call check_status(stat, anomalyd_invalid, 'poll')
      call watch%wait(verdict, stat)
      call check_status(stat, anomalyd_invalid, 'wait')
      call watch%rewind(3, stat, message)
      call check_status(stat, anomalyd_invalid, 'rewind')
      call check(message == 'the client is not open', 'words: '//message)
      call watch%label_step(3, anomalyd_normal, stat)
      call check_status(stat, anomalyd_invalid, 'label_step')
      call watch%ping(stat)
      call check_status(stat, anomalyd_invalid, 'ping')
      call check(watch%detail() == '', 'no detail')
      call watch%heatmap(png)
      call check(size(png) == 0, 'no heat map')
   end subroutine closed_client_is_invalid

   subroutine wrong_arguments_are_invalid()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      character(200) :: message
      integer :: stat

      call watch%open(run='run a', endpoint=endpoint, stat=stat, errmsg=message)
      call check_status(stat, anomalyd_invalid, 'run with a blank')
      call check(index(message, 'character 4') > 0, 'words: '//message)
      call watch%open(run=repeat('r', 129), endpoint=endpoint, stat=stat)
      call check_status(stat, anomalyd_invalid, 'long run')
      call watch%open(run='r'//achar(0)//'x', endpoint=endpoint, stat=stat)
      call check_status(stat, anomalyd_invalid, 'run with a NUL')
      call watch%open(run='r', endpoint='ipc://'//repeat('p', 108), stat=stat)
      call check_status(stat, anomalyd_invalid, 'long ipc path')
      call watch%open(run='r', endpoint=endpoint, timeout_ms=-1, stat=stat)
      call check_status(stat, anomalyd_invalid, 'negative time-out')
      call watch%open(run='r', endpoint=endpoint, timeout_ms=huge(1), stat=stat)
      call check_status(stat, anomalyd_invalid, 'time-out of more than a day')
      call watch%open(run='r', endpoint=endpoint, policy=7, stat=stat)
      call check_status(stat, anomalyd_invalid, 'unknown policy')
      call watch%open(run='r', endpoint='', stat=stat, errmsg=message)
      call check_status(stat, anomalyd_invalid, 'no endpoint')
      call check(index(message, 'ANOMALYD_ENDPOINT_FILE') > 0, 'words: '//message)
      ! A client that could not be opened still gives its policy's verdicts.
      call watch%open(run='r', policy=anomalyd_fail_closed)
      call watch%classify(1, '/a.png', verdict)
      call check(verdict%act, 'fail-closed without an open client')

      call watch%open(run='r', endpoint=endpoint, timeout_ms=300, policy=anomalyd_fail_open, stat=stat)
      call check_status(stat, anomalyd_ok, 'open')
      call watch%open(run='r', endpoint=endpoint, stat=stat, errmsg=message)
      call check_status(stat, anomalyd_invalid, 'open twice')
      call check(index(message, 'close it first') > 0, 'words: '//message)
      call watch%classify(1, '', verdict, stat)
      call check_status(stat, anomalyd_invalid, 'empty path')
      call watch%classify(1, '/'//repeat('a', 4096), verdict, stat, message)
      call check_status(stat, anomalyd_invalid, 'long path')
      call check(index(message, '4097 bytes') > 0, 'words: '//message)
      call watch%classify(1, '/a'//achar(0)//'.png', verdict, stat, message)
      call check_status(stat, anomalyd_invalid, 'path with a NUL')
      call watch%submit(1, '/a'//achar(0)//'.png', stat)
      call check_status(stat, anomalyd_invalid, 'path with a NUL')
      call watch%poll(verdict, stat)
      call check_status(stat, anomalyd_invalid, 'nothing submitted')
      call watch%label_step(1, anomalyd_unknown, stat)
      call check_status(stat, anomalyd_invalid, 'label unknown')
      call watch%close()
      call watch%close()
      call check(.not. watch%is_open(), 'closed')
   end subroutine wrong_arguments_are_invalid

   subroutine absent_daemon_is_unavailable_within_the_time_out()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      character(20) :: message
      integer :: stat
      real(real64) :: begin

      call watch%open(run='r', endpoint=endpoint, timeout_ms=300)
      begin = now_ms()
      call watch%classify(1_int64, '/a.png', verdict, stat, message)
      call check(now_ms() - begin < 300 + slack_ms, 'within the time-out')
      call check_status(stat, anomalyd_unavailable, 'no daemon')
      call check(message == 'no daemon answers at', 'a short errmsg is cut: '//message)
      call check(index(verdict%text, endpoint) > 0, 'the text names the endpoint')
      call check(.not. verdict%act .and. verdict%label == anomalyd_unknown, 'fail-open')
      call watch%close()
   end subroutine absent_daemon_is_unavailable_within_the_time_out

   subroutine verdicts_are_of_the_very_step()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      character(40) :: message
      integer :: stat

      call watch%open(run='r', endpoint=endpoint, stat=stat, errmsg=message)
      call check(stat == anomalyd_ok .and. message == '', 'open')
      message = 'old words'
      call watch%classify(41_int32, '/ok', verdict, stat, message)
      call check(stat == anomalyd_ok .and. message == '', 'classify')
      call check(verdict%step == 41 .and. verdict%label == anomalyd_normal .and. .not. verdict%act, 'normal')
      call check(abs(verdict%score - 0.25_real64) <= 0 .and. abs(verdict%threshold - 0.5_real64) <= 0, 'numbers')
      call check(verdict%instance == 'first' .and. .not. verdict%restarted .and. verdict%text == 'as you say', 'words')
      call watch%classify(least, '/anomalous', verdict)
      call check(verdict%step == least .and. verdict%label == anomalyd_anomalous .and. verdict%act, 'anomalous')
      call watch%classify(huge(1_int64), '/unknown', verdict)
      call check(verdict%step == huge(1_int64) .and. verdict%label == anomalyd_unknown .and. .not. verdict%act, 'warming up')
      call check(verdict%status == anomalyd_ok .and. ieee_is_nan(verdict%score), 'warming up is no failure')
      call watch%classify(5, '/status/409', verdict, stat)
      call check_status(stat, anomalyd_out_of_order, 'a status of the daemon')
      call check(index(verdict%text, '409') > 0 .and. verdict%instance == 'first', 'the daemon''s words')
      call watch%classify(5, '/step/6', verdict, stat)
      call check_status(stat, anomalyd_bad_reply, 'a reply for another step')
      call check(verdict%label == anomalyd_unknown .and. verdict%step == 5, 'is not taken')
      call watch%close()
   end subroutine verdicts_are_of_the_very_step

   subroutine strings_are_trimmed_and_never_cut()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      character(6000) :: path
      integer :: stat

      call watch%open(run='run_a   ', endpoint=endpoint//'   ', stat=stat)
      call check_status(stat, anomalyd_ok, 'open with trailing blanks')
      path = '/echo/with blanks'
      call watch%classify(1, path, verdict, stat)
      call check_status(stat, anomalyd_ok, 'a padded path')
      call check(index(watch%detail(), '"2f6563686f2f7769746820626c616e6b73"]') > 0, 'inner blanks stay: '//watch%detail())
      call check(index(watch%detail(), '"72756e5f61"') > 0, 'the run is trimmed')
      path = '/echo/'//repeat('x', 4090)
      call watch%classify(1, path, verdict, stat)
      call check_status(stat, anomalyd_ok, 'the longest path')
      call check(index(watch%detail(), repeat('78', 4090)//'"]') > 0, 'comes whole')
      call watch%classify(1, '/text/1024', verdict)
      call check(verdict%text == repeat('x', 1024), 'the longest text comes whole')
      call watch%close()
   end subroutine strings_are_trimmed_and_never_cut

   !> The frame of a request, as the server tells it back: hex in quotes.
   function in_hex(bytes) result(hex)
      integer(int8), intent(in) :: bytes(:)
      character(:), allocatable :: hex
      integer :: i

      allocate (character(2*size(bytes)) :: hex)
      do i = 1, size(bytes)
         write (hex(2*i - 1:2*i), '(z2.2)') iand(int(bytes(i)), 255)
      end do
      do i = 1, len(hex)
         if (hex(i:i) >= 'A') hex(i:i) = achar(iachar(hex(i:i)) + 32)
      end do
      hex = '"'//hex//'"'
   end function in_hex

   subroutine check_field(watch, verdict, option, dtype, bytes, what)
      type(anomalyd_client), intent(in) :: watch
      type(anomalyd_verdict), intent(in) :: verdict
      character(*), intent(in) :: option, dtype, what
      integer(int8), intent(in) :: bytes(:)

      call check(verdict%status == anomalyd_ok .and. verdict%label == anomalyd_normal, what//': '//trim(verdict%text))
      call check(index(watch%detail(), in_hex(transfer(option, [0_int8]))) > 0, what//': '//option)
      call check(index(watch%detail(), in_hex(transfer(dtype, [0_int8]))) > 0, what//': '//dtype)
      call check(index(watch%detail(), in_hex(bytes)) > 0, what//': the values as they lie in memory')
   end subroutine check_field

   subroutine fields_travel_in_memory_order()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      character(80) :: message
      real(real64) :: state(9, 8, 3)
      real(real32) :: plane(10, 9), none(0, 8)
      integer :: stat, i, j, k

      state = reshape([(((i + 10*j + 100*k, i=1, 9), j=1, 8), k=1, 3)], shape(state))
      plane = reshape([((1.0/(i + 10*j), i=1, 10), j=1, 9)], shape(plane))
      call watch%classify_field(3, plane, verdict, stat, message)
      call check_status(stat, anomalyd_invalid, 'a closed client')
      call check(message == 'the client is not open' .and. verdict%step == 3, 'words: '//message)
      call watch%open(run='r', endpoint=endpoint)
      call watch%classify_field(4, state, verdict)
      call check_field(watch, verdict, 'shape=3x8x9', 'dtype=f64', transfer(state, [0_int8]), 'rank 3, real64')
      call watch%classify_field(5_int64, state(:, :, 2), verdict)
      call check_field(watch, verdict, 'shape=8x9', 'dtype=f64', transfer(state(:, :, 2), [0_int8]), 'rank 2, real64')
      call watch%classify_field(6, plane, verdict)
      call check_field(watch, verdict, 'shape=9x10', 'dtype=f32', transfer(plane, [0_int8]), 'rank 2, real32')
      call watch%classify_field(7_int64, real(state, real32), verdict)
      call check_field(watch, verdict, 'shape=3x8x9', 'dtype=f32', transfer(real(state, real32), [0_int8]), 'rank 3, real32')
      call watch%classify_field(8, plane(2:9, 1:8), verdict)
      call check_field(watch, verdict, 'shape=8x8', 'dtype=f32', transfer(plane(2:9, 1:8), [0_int8]), 'a section')
      call watch%classify_field(9, none, verdict, stat)
      call check_status(stat, anomalyd_invalid, 'no values')
      call watch%close()
   end subroutine fields_travel_in_memory_order

   subroutine policy_decides_what_a_missing_verdict_means()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      integer :: policy

      do policy = anomalyd_fail_open, anomalyd_fail_closed
         call watch%open(run='r', endpoint=endpoint, timeout_ms=200, policy=policy)
         call watch%classify(1, '/silent', verdict)
         call check(verdict%act .eqv. policy == anomalyd_fail_closed, 'a timeout')
         call watch%classify(1, '/status/503', verdict)
         call check(verdict%act .eqv. policy == anomalyd_fail_closed, 'a daemon that is not ready')
         call watch%classify(1, '/unknown', verdict)
         call check(.not. verdict%act, 'a run that warms up')
         call watch%classify(1, '/anomalous', verdict)
         call check(verdict%act, 'an anomaly')
         call watch%close()
      end do
   end subroutine policy_decides_what_a_missing_verdict_means

   subroutine silent_daemon_is_a_timeout()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      integer :: stat
      real(real64) :: begin, took

      call watch%open(run='r', endpoint=endpoint, timeout_ms=250)
      begin = now_ms()
      call watch%classify(1, '/late/300/anomalous', verdict, stat)
      call check_status(stat, anomalyd_timeout, 'a late reply')
      took = now_ms() - begin
      call check(took >= 249 .and. took < 250 + slack_ms, 'within the time-out')
      call watch%classify(1, '/late/150', verdict, stat)
      call check_status(stat, anomalyd_ok, 'the next one')
      call check(verdict%label == anomalyd_normal, 'is not answered by the late reply')
      call watch%close()
   end subroutine silent_daemon_is_a_timeout

   subroutine stopped_daemon_is_a_timeout()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      integer :: stat, attempt

      call watch%open(run='r', endpoint=endpoint, timeout_ms=250)
      call watch%ping(stat)
      call check_status(stat, anomalyd_ok, 'before')
      call signal_server('STOP')
      do attempt = 1, 2
         call watch%classify(1, '/ok', verdict, stat)
         call check_status(stat, anomalyd_timeout, 'stopped')
      end do
      call signal_server('CONT')
      call watch%classify(1, '/ok', verdict, stat)
      call check_status(stat, anomalyd_ok, 'continued')
      call watch%close()
   end subroutine stopped_daemon_is_a_timeout

   subroutine submit_poll_and_wait()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      integer :: stat, n_polls

      call watch%open(run='r', endpoint=endpoint, timeout_ms=3000)
      call watch%submit(8, '/late/200/anomalous', stat)
      call check_status(stat, anomalyd_ok, 'submit')
      call watch%submit(9_int64, '/ok', stat)
      call check_status(stat, anomalyd_busy, 'submit again')
      call watch%classify(9, '/ok', verdict, stat)
      call check_status(stat, anomalyd_busy, 'classify meanwhile')
      n_polls = 0
      do
         call watch%poll(verdict, stat)
         if (stat /= anomalyd_busy) exit
         n_polls = n_polls + 1
         call check(verdict%status == anomalyd_busy .and. .not. verdict%act, 'busy')
         call nap_ms(10)
      end do
      call check(n_polls > 3, 'polling did not wait')
      call check(verdict%status == anomalyd_ok .and. verdict%step == 8 .and. verdict%act, 'the verdict')
      call watch%submit(10, '/late/50')
      call watch%wait(verdict)
      call check(verdict%status == anomalyd_ok .and. verdict%step == 10, 'waited for')
      call watch%close()
   end subroutine submit_poll_and_wait

   subroutine rewind_label_and_ping()
      type(anomalyd_client) :: watch
      character(40) :: message
      integer :: stat

      call watch%open(run='r', endpoint=endpoint)
      call watch%rewind(30, stat, message)
      call check(stat == anomalyd_ok .and. message == '', 'rewind')
      call check(index(watch%detail(), '"524557494e44"') > 0, 'REWIND')
      call check(index(watch%detail(), '"72","3330"]') > 0, 'REWIND r 30')
      call watch%rewind(-2_int64, stat)
      call check(index(watch%detail(), '"2d32"]') > 0, 'REWIND -2')
      call watch%label_step(30_int64, anomalyd_anomalous, stat)
      call check_status(stat, anomalyd_ok, 'label')
      call check(index(watch%detail(), '"6c6162656c","616e6f6d616c6f7573"]') > 0, 'LABEL anomalous')
      call watch%label_step(30, anomalyd_normal, stat)
      call check(index(watch%detail(), '"6c6162656c","6e6f726d616c"]') > 0, 'LABEL normal')
      call watch%ping(stat)
      call check_status(stat, anomalyd_ok, 'ping')
      call watch%close()
   end subroutine rewind_label_and_ping

   subroutine detail_and_heat_map_are_given()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      integer(int8), allocatable :: png(:)
      integer :: stat

      call watch%open(run='r', endpoint=endpoint, model='m1', want_heatmap=.true.)
      call watch%classify(1, '/echo', verdict)
      call check(index(watch%detail(), '"6d6f64656c3d6d31","77616e743d686561746d6170"]') > 0, 'options: '//watch%detail())
      call watch%classify(1, '/echo', verdict, stream='density ')
      call check(index(watch%detail(), '"73747265616d3d64656e73697479"]') > 0, 'stream: '//watch%detail())
      call watch%label_step(1, anomalyd_normal, stream='density')
      call check(index(watch%detail(), '"6e6f726d616c","73747265616d3d64656e73697479"]') > 0, 'stream of a label')
      call watch%submit(2, '/echo', stream='v:2')
      call watch%wait(verdict)
      call check(index(watch%detail(), '"73747265616d3d763a32"]') > 0, 'stream of a submitted request')
      call watch%classify(1, '/echo', verdict)
      call check(index(watch%detail(), '73747265616d') == 0, 'no stream is the default one')
      call watch%classify(3, '/echo', verdict, stat, stream='a/b')
      call check_status(stat, anomalyd_invalid, 'a wrong name')
      call check(index(verdict%text, 'character 2') > 0 .and. verdict%step == 3, trim(verdict%text))
      call watch%classify(1, '/big/70000', verdict, stat)
      call check_status(stat, anomalyd_ok, 'big')
      call check(len(watch%detail()) == 70000, 'the detail comes whole')
      call watch%heatmap(png)
      call check(size(png) == 70004, 'the heat map comes whole')
      call check(all(png(2:4) == [80_int8, 78_int8, 71_int8]), 'PNG')
      call watch%classify(1, '/ok', verdict)
      call watch%heatmap(png)
      call check(size(png) == 0, 'the heat map is that of the last reply')
      call check(watch%detail() == '', 'the detail is that of the last reply')
      call watch%close()
   end subroutine detail_and_heat_map_are_given

   subroutine copy_of_an_open_client_is_closed()
      type(anomalyd_client) :: watch, copy
      type(anomalyd_verdict) :: verdict
      integer :: stat

      call watch%open(run='r', endpoint=endpoint)
      copy = watch
      call check(.not. copy%is_open() .and. watch%is_open(), 'one owner')
      call copy%close()
      call watch%classify(1, '/ok', verdict, stat)
      call check_status(stat, anomalyd_ok, 'the original is unharmed')
      call watch%close()
   end subroutine copy_of_an_open_client_is_closed

   subroutine restarted_daemon_is_a_new_instance()
      type(anomalyd_client) :: watch
      type(anomalyd_verdict) :: verdict
      integer :: stat

      call watch%open(run='r', endpoint=endpoint, timeout_ms=3000)
      call watch%classify(1, '/ok', verdict)
      call check(.not. verdict%restarted .and. verdict%instance == 'first', 'the first')
      call stop_server()
      call watch%classify(2, '/ok', verdict, stat)
      call check_status(stat, anomalyd_unavailable, 'killed')
      call start_server('--bind '//endpoint//' --instance second')
      call watch%classify(3, '/ok', verdict, stat)
      call check_status(stat, anomalyd_ok, 'restarted')
      call check(verdict%restarted .and. verdict%instance == 'second', 'the second')
      call watch%classify(4, '/ok', verdict)
      call check(.not. verdict%restarted, 'told once')
      call watch%close()
   end subroutine restarted_daemon_is_a_new_instance
end program test_client
