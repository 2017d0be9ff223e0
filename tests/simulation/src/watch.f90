!> Asks anomalyd about images: the only file of the solver that knows the daemon. watch_off.f90 takes its place with -DWATCH=OFF.
!>
!> Where the daemon is comes from the environment: ANOMALYD_ENDPOINT, or the file named by ANOMALYD_ENDPOINT_FILE. The policy is
!> fail-open: a daemon that is away, slow or restarted costs the run its verdicts and at most the time-out, never the run.
module watch
   use, intrinsic :: iso_fortran_env, only: int64
   use anomalyd, only: anomalyd_client, anomalyd_verdict, anomalyd_ok, anomalyd_out_of_order, anomalyd_fail_open, &
      & anomalyd_label_name
   implicit none
   private
   public :: watch_type, answer_type

   !> What became of one image.
   type :: answer_type
      !> normal, anomalous or unknown.
      character(9) :: label = 'unknown'
      !> Go back.
      logical :: alarm = .false.
      !> 200, or what went wrong (PROTOCOL.md, section 8; below 100: on this side).
      integer :: status = 0
      !> Both dimensionless; NaN where there are none.
      double precision :: score = 0.0d0, threshold = 0.0d0
      !> Time that the simulation waited for the answer, milliseconds.
      double precision :: waited_ms = 0.0d0
      !> One line for a person.
      character(1024) :: text = ''
   end type answer_type

   type :: watch_type
      private
      type(anomalyd_client) :: client
   contains
      procedure :: open => open_watch
      procedure :: judge
      procedure :: go_back
      procedure :: close => close_watch
   end type watch_type

contains

   !> Opens the client; waits for no daemon. `message` says why there will be no verdicts, and is empty if there may be.
   subroutine open_watch(self, run, timeout_ms, message)
      class(watch_type), intent(inout) :: self
      character(*), intent(in) :: run
      integer, intent(in) :: timeout_ms
      character(:), allocatable, intent(out) :: message
      character(512) :: reason
      integer :: stat

      message = ''
      reason = ''
      call self%client%open(run=run, timeout_ms=timeout_ms, policy=anomalyd_fail_open, stat=stat, errmsg=reason)
      if (stat /= anomalyd_ok) message = trim(reason)
   end subroutine open_watch

   !> Asks for the verdict on the image of `step` and waits for it.
   subroutine judge(self, step, path, answer)
      class(watch_type), intent(inout) :: self
      integer, intent(in) :: step
      character(*), intent(in) :: path
      type(answer_type), intent(out) :: answer
      type(anomalyd_verdict) :: verdict
      integer(int64) :: before, after, rate

      if (.not. self%client%is_open()) return
      call system_clock(before, rate)
      call self%client%classify(step, path, verdict)
      call system_clock(after)
      answer%label = anomalyd_label_name(verdict%label)
      answer%alarm = verdict%act
      answer%status = verdict%status
      answer%score = verdict%score
      answer%threshold = verdict%threshold
      answer%waited_ms = 1.0d3*dble(after - before)/dble(rate)
      if (verdict%restarted) then
         answer%text = 'the daemon was restarted; '//trim(verdict%text)
      else
         answer%text = verdict%text
      end if
      if (verdict%status /= anomalyd_ok) write (answer%text, '(a,i0,2a)') 'status ', verdict%status, ': ', trim(verdict%text)
   end subroutine judge

   !> Tells the daemon that the run has gone back to its state right after the image of `step`. `message` is empty if it has done
   !> so, too.
   subroutine go_back(self, step, message)
      class(watch_type), intent(inout) :: self
      integer, intent(in) :: step
      character(:), allocatable, intent(out) :: message
      character(512) :: reason
      integer :: stat

      message = ''
      reason = ''
      if (.not. self%client%is_open()) return
      call self%client%rewind(step, stat, reason)
      if (stat == anomalyd_ok) return
      message = 'rewind: '//trim(reason)
      if (stat /= anomalyd_out_of_order) return
      ! The daemon does not remember that far back. It starts over with this run, rather than take the replay for news.
      call self%client%rewind(-1, stat, reason)
      if (stat == anomalyd_ok) then
         message = message//'; it begins anew with this run and warms up again'
      else
         message = message//'; beginning anew: '//trim(reason)
      end if
   end subroutine go_back

   subroutine close_watch(self)
      class(watch_type), intent(inout) :: self

      call self%client%close()
   end subroutine close_watch

end module watch
